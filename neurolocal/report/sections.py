"""The report's section of each stage: what the stage measured of a neuron, each figure beside its null.

`SECTIONS` is the one table from which the terminal view and the page are both made. A stage that is not in it has the
section of `columns`: the columns of its table as they are.

Invariant: sections are in the run order of the stages.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, nan
from typing import NamedTuple

from neurolocal.records import TABLES
from neurolocal.render.figures import Figure, fixed, number, percent, significance
from neurolocal.report.columns import column_figures, column_values
from neurolocal.report.layer import Layer
from neurolocal.report.replacements import Replacement, lowering, raising, replacements


class WordList(NamedTuple):
    """Words that a stage tested in a neuron's examples, with the activation that each gave."""

    name: str
    """What kind of words."""
    words: list[Replacement]
    """The words, in the order to be shown; never empty."""
    on_page: bool
    """Whether the page shows the list as well as the terminal."""


class Section(NamedTuple):
    """What the views show of one stage."""

    figures: Callable[[Layer, int], list[Figure]]
    """(layer, neuron) -> the stage's figures; empty if it did not measure the neuron."""
    word_lists: Callable[[Layer, int], list[WordList]] = lambda read, neuron: []
    """(layer, neuron) -> the stage's lists of words."""


def figures(read: Layer, neuron: int) -> list[Figure]:
    """The figures of all stages; empty if none measured the neuron."""
    return [
        figure
        for stage in TABLES
        for figure in (
            SECTIONS[stage].figures(read, neuron) if stage in SECTIONS else column_figures(read, stage, neuron)
        )
    ]


def word_lists(read: Layer, neuron: int) -> list[WordList]:
    """The lists of words of all stages."""
    return [words for stage in TABLES if stage in SECTIONS for words in SECTIONS[stage].word_lists(read, neuron)]


def other_evidence(read: Layer, neuron: int) -> dict[str, dict[str, float | str]]:
    """Stage -> column -> value, of the stages that have no section of their own."""
    found = {stage: column_values(read, stage, neuron) for stage in TABLES if stage not in SECTIONS}
    return {stage: values for stage, values in found.items() if values}


def similarity(read: Layer, neuron: int) -> list[Figure]:
    """Coherence of the peak words, shared spelling, and similarity of the contexts."""
    if not read.has("similarity", neuron):
        return []
    score, mean, sd, z, p, q = (
        read.figure("similarity", column, neuron) for column in ("score", "null_mean", "null_sd", "z", "p", "q")
    )
    null = f"random words {fixed(mean)} ± {fixed(sd)}" if isfinite(mean) else ""
    made = [Figure("coherence", fixed(score), null, significance(z=z, p=p, q=q), score, mean, COHERENCE)]
    form = read.text("similarity", "form", neuron)
    share, p, q = (read.figure("similarity", f"form_{column}", neuron) for column in ("share", "p", "q"))
    if form:
        test = significance(p=p, q=q)
        made.append(Figure(f"spelling: {form}", percent(share), test=test, number=share, meaning=SPELLING))
    for name, stem in (("contexts alike", "phrase"), ("texts alike (Doc2Vec)", "document")):
        score, z, p = (read.figure("similarity", f"{stem}_{column}", neuron) for column in ("score", "z", "p"))
        if isfinite(score):
            made.append(Figure(name, fixed(score), test=significance(z=z, p=p), number=score, meaning=CONTEXTS))
    return made


def meanings(read: Layer, neuron: int) -> list[Figure]:
    """How many meanings the words have, where a group of them holds together."""
    p = read.figure("meanings", "p", neuron)
    if not isfinite(p):
        return []
    n = max(1, int(read.figure("meanings", "n_parts", neuron)))
    test = significance(p=p, q=read.figure("meanings", "q", neuron))
    return [Figure("meanings", str(n), "", test, nan, nan, MEANINGS)]


def perturbation(read: Layer, neuron: int) -> list[Figure]:
    """How much of the activation remained when the peak word was replaced."""
    if not read.has("perturbation", neuron):
        return []

    def figure(column: str) -> float:
        return read.figure("perturbation", column, neuron)

    made = []
    for name, column, meaning in NEIGHBOURS:
        value, null = figure(column), figure(f"control_{column}")
        null_text = f"controls {percent(null)}" if isfinite(null) else ""
        test = significance(p=figure("p"), q=figure("q")) if column == "half" else ""
        made.append(Figure(f"neighbours {name}", percent(value), null_text, test, value, null, meaning))
    auc, dose = figure("auc"), figure("dose")
    made.append(Figure("neighbour above control", fixed(auc), "chance 0.50", number=auc, null_number=0.5, meaning=AUC))
    if isfinite(dose):
        curve = " → ".join(percent(figure(column)) for column in CURVE)
        made.append(
            Figure("nearer words, more activation", fixed(dose), curve, number=dose, null_number=0.0, meaning=DOSE)
        )
    for name, column, meaning in SHARES:
        value = figure(column)
        if isfinite(value):
            made.append(Figure(name, percent(value), number=value, meaning=meaning))
    return made


def replaced_words(read: Layer, neuron: int) -> list[WordList]:
    """The words that replaced the peak words, by what they are or what they did."""
    lists = (
        WordList("raise it", raising(read, neuron), on_page=False),
        WordList("neighbours", replacements(read, neuron, "neighbour"), on_page=True),
        WordList("lower it", lowering(read, neuron), on_page=False),
        WordList("new words", replacements(read, neuron, "reach"), on_page=False),
        WordList("variants", replacements(read, neuron, "variant", "form"), on_page=False),
        WordList("controls", replacements(read, neuron, "control"), on_page=True),
    )
    return [words for words in lists if words.words]


def intervention(read: Layer, neuron: int) -> list[Figure]:
    """What changes of its activation did to the next token, beside random neurons that were changed as much."""
    if not read.has("intervention", neuron):
        return []

    def figure(column: str) -> float:
        return read.figure("intervention", column, neuron)

    made = []
    for name, stem, meaning in CHANGES:
        value, null = figure(f"{stem}_kl"), figure(f"{stem}_control_kl")
        test = significance(p=figure(f"{stem}_p"), q=figure(f"{stem}_q"))
        null_text = f"random neurons {number(null)}" if isfinite(null) else ""
        made.append(Figure(name, f"{number(value)} nats", null_text, test, meaning=meaning))  # no share: no bar
    loss, agreement = figure("zero_loss"), figure("agreement")
    if isfinite(loss):
        made.append(Figure("loss without it", f"{loss:+.3f} nats", meaning=LOSS))
    if isfinite(agreement):
        made.append(
            Figure("measured as predicted", fixed(agreement), number=agreement, null_number=0.0, meaning=AGREEMENT)
        )
    return made


def score(read: Layer, neuron: int) -> list[Figure]:
    """How well the description and the pattern predict the neuron."""
    made = []
    found, q = read.scores(neuron), read.output_q(neuron)
    for measure, (name, other, meaning) in SCORES.items():
        if measure in found:
            value, low, high, control = found[measure]
            null = f"{other} {fixed(control)}" if isfinite(control) else ""
            interval = f"95 %: {fixed(low)} to {fixed(high)}" if isfinite(low) else ""
            interval = f"q {fixed(q[measure])}" if measure in q else interval
            made.append(Figure(name, fixed(value), null, interval, value, control, meaning))
    return made


CHANGES = (
    ("set to 0 at its own peaks", "zero", "How far the next token's distribution moves (KL divergence)."),
    ("set high at random places", "steer", "How far it moves when the neuron is raised above its strongest example."),
)
"""Names, column stems and meanings of the changes that have a p."""

LOSS = "Rise of -log P(the true next token) when it is set to 0 at its own peaks: above 0 it helps to predict."
AGREEMENT = "Correlation over the vocabulary of the measured change and the direct logit effect."

CURVE = ("relative", "grade1", "grade2", "grade3", "control_relative")
"""The dose-response curve: columns of mean activation / original, from near words to random ones."""

COHERENCE = "Mean similarity of the peak words, two by two; random words of the same frequency beside it."
MEANINGS = "Groups of peak words that lie apart, each of which holds together more than random words do."
SPELLING = "Share of the peak words that have this spelling in common."
CONTEXTS = "Similarity of the texts around the peaks, the peak words left out, against random windows of the corpus."
AUC = "How often a near word gives more activation than a random word does."
DOSE = (
    "Rank correlation of a substitute's similarity and its activation, then the activation from near to random words."
)

NEIGHBOURS = (
    ("keep half", "half", "Share of near words that keep at least half of the activation in the word's place."),
    ("keep all", "held", "Share of near words that give at least as much activation as the word itself."),
    ("mean activation", "relative", "Mean activation with a near word in the word's place, of the original."),
)
"""Names, columns and meanings of what near words do; each has a column of random controls beside it."""


class Share(NamedTuple):
    """A figure of the perturbation stage that has no null of its own."""

    name: str
    column: str
    """Column of its table."""
    meaning: str
    """What it is, in one plain sentence."""


SHARES = (
    Share(
        "spelling variants keep half",
        "variant_half",
        "Share of other spellings of the word that keep at least half of the activation.",
    ),
    Share(
        "other capitals and spacings keep half",
        "form_half",
        "Share of its other capitals and spacings that keep at least half.",
    ),
    Share(
        "random words spelled alike keep half",
        "spelled_half",
        "Share of random words with the shared spelling that keep at least half.",
    ),
    Share(
        "new words of this kind keep half",
        "reach_half",
        "Share of words near to all of the neuron's words that keep at least half.",
    ),
    Share(
        "other contexts keep half",
        "elsewhere_half",
        "Share of other places in the corpus where the neuron's words keep at least half.",
    ),
    Share("word alone, mean activation", "alone", "Activation of the word alone after BOS, of the original."),
)
"""The other kinds of substitutes."""


class Measure(NamedTuple):
    """A measure of the score stage that is shown."""

    name: str
    control: str
    """Name of its control; empty if it has none."""
    meaning: str
    """What it is, in one plain sentence."""


_AUC = "AUC: 1 is always right, 0.5 is chance."

_NATURAL = "1 is always right; texts count as often as they occur in the corpus."

_OUTPUT = "Share of other neurons whose promoted tokens fit the description less: 1 is best, 0.5 is chance."

_MEASURED = "Tokens that rise when the neuron is raised."

_DIRECT = "Tokens that its output weights raise."

SCORES = {
    "detection_auprc": Measure(
        "description: texts found, AUPRC",
        "another's",
        f"Texts that activate it, ordered by the description. {_NATURAL}",
    ),
    "detection_f1": Measure(
        "description: texts found, F1",
        "another's",
        f"Texts that the description fits against those it fires in. {_NATURAL}",
    ),
    "simulation_pearson": Measure(
        "description: activations simulated", "another's", f"Correlation of expected and real activations. {_NATURAL}"
    ),
    "fuzzing_auc": Measure(
        "description: words told apart, AUC", "another's", f"Which word activates it, by the description. {_AUC}"
    ),
    "embedding_auprc": Measure(
        "description: texts by vectors, AUPRC",
        "another's",
        f"Texts ordered by the word vectors of the description. {_NATURAL}",
    ),
    "output_auc": Measure("description: what it promotes", "another's", f"{_OUTPUT} By the LLM. {_MEASURED}"),
    "output_embedding_auc": Measure(
        "description: what it promotes, by vectors", "another's", f"{_OUTPUT} By word vectors. {_MEASURED}"
    ),
    "output_direct_auc": Measure(
        "description: what its weights promote", "another's", f"{_OUTPUT} By the LLM. {_DIRECT}"
    ),
    "output_direct_embedding_auc": Measure(
        "description: what its weights promote, by vectors", "another's", f"{_OUTPUT} By word vectors. {_DIRECT}"
    ),
    "firing_f1": Measure(
        "pattern: firing predicted, F1", "another's", "A pattern of words predicts where it fires, on unseen rows."
    ),
    "token_f1": Measure(
        "token look-up: firing predicted, F1", "", "A list of its peak tokens does: what the pattern has to beat."
    ),
}
"""The measures that are shown, those that lead first; the others, such as the AUC of detection, are in JSON."""

SECTIONS: dict[str, Section] = {
    "similarity": Section(similarity),
    "meanings": Section(meanings),
    "perturbation": Section(perturbation, replaced_words),
    "verdict": Section(lambda read, neuron: []),
    "intervention": Section(intervention),
    "summary": Section(lambda read, neuron: []),
    "score": Section(score),
}
"""Stage -> its section. Verdict and summary have none: they are in the header of a neuron's entry."""
