"""The report's section of each stage: what the stage measured of a neuron, each figure beside its null.

`SECTIONS` is the one table from which the terminal view and the page are both made. A stage that is not in it has the
section of `columns`: the columns of its table as they are.

Invariant: sections are in the run order of the stages.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import NamedTuple

from neurolocal.records import TABLES
from neurolocal.render.figures import Figure, fixed, percent, significance
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
    made = [Figure("coherence", fixed(score), null, significance(z=z, p=p, q=q), score, mean)]
    form = read.text("similarity", "form", neuron)
    share, p, q = (read.figure("similarity", f"form_{column}", neuron) for column in ("share", "p", "q"))
    if form:
        made.append(Figure(f"spelling: {form}", percent(share), test=significance(p=p, q=q), number=share))
    for name, stem in (("contexts alike", "phrase"), ("texts alike (Doc2Vec)", "document")):
        score, z, p = (read.figure("similarity", f"{stem}_{column}", neuron) for column in ("score", "z", "p"))
        if isfinite(score):
            made.append(Figure(name, fixed(score), test=significance(z=z, p=p), number=score))
    return made


def perturbation(read: Layer, neuron: int) -> list[Figure]:
    """How much of the activation remained when the peak word was replaced."""
    if not read.has("perturbation", neuron):
        return []

    def figure(column: str) -> float:
        return read.figure("perturbation", column, neuron)

    made = []
    for name, column in (("keep half", "half"), ("keep all", "held"), ("mean activation", "relative")):
        value, null = figure(column), figure(f"control_{column}")
        null_text = f"controls {percent(null)}" if isfinite(null) else ""
        test = significance(p=figure("p"), q=figure("q")) if column == "half" else ""
        made.append(Figure(f"neighbours {name}", percent(value), null_text, test, value, null))
    auc, dose = figure("auc"), figure("dose")
    made.append(Figure("neighbour above control", fixed(auc), "chance 0.50", number=auc, null_number=0.5))
    if isfinite(dose):
        curve = " → ".join(percent(figure(column)) for column in CURVE)
        made.append(Figure("nearer words, more activation", fixed(dose), curve, number=dose, null_number=0.0))
    for name, column in SHARES:
        value = figure(column)
        if isfinite(value):
            made.append(Figure(name, percent(value), number=value))
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


def score(read: Layer, neuron: int) -> list[Figure]:
    """How well the description and the pattern predict the neuron."""
    made = []
    for measure, (value, low, high, control) in read.scores(neuron).items():
        if measure in SCORES:
            name, other = SCORES[measure]
            null = f"{other} {fixed(control)}" if isfinite(control) else ""
            interval = f"95 %: {fixed(low)} to {fixed(high)}" if isfinite(low) else ""
            made.append(Figure(name, fixed(value), null, interval, value, control))
    return made


CURVE = ("relative", "grade1", "grade2", "grade3", "control_relative")
"""The dose-response curve: columns of mean activation / original, from near words to random ones."""

SHARES = (
    ("spelling variants keep half", "variant_half"),
    ("other capitals and spacings keep half", "form_half"),
    ("random words spelled alike keep half", "spelled_half"),
    ("new words of this kind keep half", "reach_half"),
    ("other contexts keep half", "elsewhere_half"),
    ("word alone, mean activation", "alone"),
)
"""Names and columns of the other kinds of substitutes."""

SCORES = {
    "detection_auc": ("description: texts told apart", "another's"),
    "fuzzing_auc": ("description: words told apart", "another's"),
    "embedding_auc": ("description: texts, by vectors", "another's"),
    "firing_f1": ("pattern: firing predicted, F1", "another's"),
    "token_f1": ("token look-up: firing predicted, F1", ""),
}
"""Measure -> its name and the name of its control, of the measures that are shown; AUC unless the name says F1."""

SECTIONS: dict[str, Section] = {
    "similarity": Section(similarity),
    "perturbation": Section(perturbation, replaced_words),
    "verdict": Section(lambda read, neuron: []),
    "summary": Section(lambda read, neuron: []),
    "score": Section(score),
}
"""Stage -> its section. Verdict and summary have none: they are in the header of a neuron's entry."""
