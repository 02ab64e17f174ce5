"""The evidence tables that the stages put into a store, and TABLES, the order of the stages.

Invariant: the columns of a table have equal length. Column `neuron` is the neuron of each row; a stage that looks at
some neurons has rows for these only. Imports no heavy package and nothing of ours.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64


@dataclass(frozen=True)
class SimilarityTable:
    """Do the top tokens belong together? One row a neuron of a layer, one side."""

    neuron: Int64[np.ndarray, "n"]
    """Index within the layer."""
    score: Float32[np.ndarray, "n"]
    """Default method: mean cosine over distinct pairs of distinct peak words. Notebook: its own mean. NaN: no pair."""
    n_words: Int64[np.ndarray, "n"]
    """Distinct peak words (case-folded) among the examples."""
    n_known: Int64[np.ndarray, "n"]
    """Of these, how many have a vector."""
    repetition: Float32[np.ndarray, "n"]
    """Share of the examples whose peak word is the commonest one: 1 when all peak on one word."""
    null_mean: Float32[np.ndarray, "n"]
    """Mean of the score over random word sets of the same size and frequency; NaN where there is no score."""
    null_sd: Float32[np.ndarray, "n"]
    """Standard deviation of the same."""
    z: Float32[np.ndarray, "n"]
    """(score - null_mean) / null_sd."""
    p: Float64[np.ndarray, "n"]
    """Share of random sets that score as high, the observed one counted in; NaN where there is no score."""
    q: Float64[np.ndarray, "n"]
    """Benjamini-Hochberg over the neurons of the layer that have a p."""
    kept: Bool[np.ndarray, "n"]
    """Passed the method's own screen (default: q under the config's level; notebook: score >= 0.6)."""
    n_tokens: Int64[np.ndarray, "n"]
    """Distinct peak tokens, as they stand."""
    token_repetition: Float32[np.ndarray, "n"]
    """Share of the examples on the commonest peak token; beside `repetition`, evidence for `token`."""
    form: list[str]
    """The spelling that the peak words share most beyond chance, as `neurolocal.words.forms` names it; empty: none."""
    form_share: Float32[np.ndarray, "n"]
    """Share of the distinct peak words that have it; NaN where there is none."""
    form_p: Float64[np.ndarray, "n"]
    """Probability that as many random words of the same frequency share any spelling as much; NaN under three words."""
    form_q: Float64[np.ndarray, "n"]
    """Benjamini-Hochberg over the neurons of the layer that have a `form_p`."""
    phrase_score: Float32[np.ndarray, "n"]
    """Mean cosine over pairs of the windows' mean vectors, the peak words left out; NaN where not measured."""
    phrase_z: Float32[np.ndarray, "n"]
    """(phrase_score - mean of random windows of the corpus) / their standard deviation."""
    phrase_p: Float64[np.ndarray, "n"]
    """Share of random sets of windows that score as high, the observed one counted in."""
    phrase_q: Float64[np.ndarray, "n"]
    """Benjamini-Hochberg over the neurons of the layer that have a `phrase_p`."""
    document_score: Float32[np.ndarray, "n"]
    """The same as `phrase_score` of Doc2Vec vectors of the whole windows; NaN where not asked for."""
    document_z: Float32[np.ndarray, "n"]
    """The same as `phrase_z` of these."""
    document_p: Float64[np.ndarray, "n"]
    """The same as `phrase_p` of these."""


KINDS = (
    *("original", "neighbour", "control", "grade1", "grade2", "grade3"),
    *("variant", "form", "spelled", "reach", "alone", "elsewhere"),
)
"""What stands in an example's place, relative to its peak word:

`original` the word itself, run again: the reference of the others; `neighbour` a near word; `control` a random word as
frequent; `grade1` to `grade3` words between these, ever farther by cosine; `variant` a spelling variant (plural,
inflection); `form` the word in other capitals or spacing; `spelled` a random word with the spelling that the neuron's
words share; `reach` a word like all of the neuron's words and none of them; `alone` the word after BOS, without its
context; `elsewhere` the word in another row's context.
"""


@dataclass(frozen=True)
class SubstituteTable:
    """Every substitute that was put in an example's place: one row a substitute."""

    neuron: Int64[np.ndarray, "s"]
    """Index within the layer."""
    rank: Int32[np.ndarray, "s"]
    """Rank of the example whose peak word was replaced."""
    kind: list[str]
    """One of `KINDS`."""
    word: list[str]
    """The text that stood there, as tokenised (leading space kept)."""
    cosine: Float32[np.ndarray, "s"]
    """Cosine to the word that it replaced; NaN where unknown."""
    activation: Float32[np.ndarray, "s"]
    """Largest activation over the substitute's own tokens."""


@dataclass(frozen=True)
class PerturbationTable:
    """Does the activation follow the concept when the token is replaced? One row a tested neuron, one side."""

    neuron: Int64[np.ndarray, "n"]
    """Index within the layer."""
    n_examples: Int32[np.ndarray, "n"]
    """Examples tested."""
    n_neighbours: Int32[np.ndarray, "n"]
    """Neighbours tested, over all examples."""
    held: Float32[np.ndarray, "n"]
    """Share of neighbours whose activation is >= the original's (notebook: kept substitutes / checked)."""
    half: Float32[np.ndarray, "n"]
    """Share of neighbours whose activation is >= half of the original's."""
    control_held: Float32[np.ndarray, "n"]
    """`held` of the random controls."""
    control_half: Float32[np.ndarray, "n"]
    """`half` of the random controls."""
    relative: Float32[np.ndarray, "n"]
    """Mean of activation / original over the neighbours."""
    control_relative: Float32[np.ndarray, "n"]
    """The same over the controls."""
    auc: Float32[np.ndarray, "n"]
    """Probability that a neighbour's activation is above a control's of the same example (ties half)."""
    p: Float64[np.ndarray, "n"]
    """Paired permutation test, neighbours against controls within examples, one-sided."""
    q: Float64[np.ndarray, "n"]
    """Benjamini-Hochberg over the tested neurons of the layer."""
    score: Float32[np.ndarray, "n"]
    """Notebook method: its average score, in activation units; default method: `half - control_half`."""
    n_controls: Int32[np.ndarray, "n"]
    """Controls tested, over all examples."""
    grade1: Float32[np.ndarray, "n"]
    """Mean of activation / original over the words a little farther than the neighbours; NaN where none was tested."""
    grade2: Float32[np.ndarray, "n"]
    """The same, farther."""
    grade3: Float32[np.ndarray, "n"]
    """The same, farther still; `control_relative` ends the dose-response curve that `relative` begins."""
    dose: Float32[np.ndarray, "n"]
    """Spearman's rank correlation of cosine and activation within an example, over neighbours, grades and controls;
    the mean over examples."""
    variant_half: Float32[np.ndarray, "n"]
    """Share of spelling variants that keep half."""
    form_half: Float32[np.ndarray, "n"]
    """Share of other capitals and spacings of the word itself that keep half."""
    spelled_half: Float32[np.ndarray, "n"]
    """Share of random words with the neuron's shared spelling that keep half; NaN where it has none."""
    n_reach: Int32[np.ndarray, "n"]
    """New words tested that are like all of the neuron's words."""
    reach_half: Float32[np.ndarray, "n"]
    """Share of these that keep half: how far the concept reaches beyond the examples."""
    alone: Float32[np.ndarray, "n"]
    """Mean of activation / original of the peak words alone after BOS."""
    elsewhere_half: Float32[np.ndarray, "n"]
    """Share of other contexts in which the peak words keep half."""
    substitutes: SubstituteTable
    """Every substitute that was tried."""


@dataclass(frozen=True)
class SummaryTable:
    """What would a person call it? One row a described neuron, one side."""

    neuron: Int64[np.ndarray, "n"]
    """Index within the layer."""
    description: list[str]
    """One line."""
    source: list[str]
    """Its origin: `llm`, `vectors`, `counts` (token counts alone)."""
    prompt: list[str]
    """The LLM's prompt, whole; empty where none was asked."""
    answer: list[str]
    """The LLM's answer, raw; empty where none was asked."""
    gain: Float32[np.ndarray, "n"]
    """Nats a token by which the description makes the held-in words more probable; NaN where not measured."""
    candidates: list[str]
    """What the LLM chose from, one a line, best first, each with its score behind a tab; empty where it did not."""
    said: list[str]
    """What failed or was omitted; empty where nothing was."""
    parts: list[str]
    """Of a neuron with several meanings each of them, a line each: number, tab, description; empty for the others."""


MEASURES = (
    *("detection_auprc", "detection_f1", "simulation_pearson", "simulation_cosine"),
    *("detection_iou", "detection_auc", "fuzzing_auc"),
    *("embedding_auprc", "embedding_auc"),
    *("output_auc", "output_embedding_auc", "output_direct_auc", "output_direct_embedding_auc"),
    *("firing_f1", "firing_precision", "firing_recall", "token_f1", "ngram_f1"),
    *("firing_random_f1", "token_random_f1"),
)
"""What a description or a pattern is scored by, on the score half and on random text; those that lead come first:

`detection`: does the LLM tell texts where the neuron fires from others; AUPRC, F1 and IoU over texts in their natural
proportion, AUC over the drawn texts, near misses among them. `simulation`: the LLM's expected activation at each token
against the real one, in natural proportion. `fuzzing`: does it tell rightly marked words from wrongly marked ones.
`embedding`: detection by word vectors, without an LLM. `output`: share of other neurons whose promoted tokens fit the
description less, by the LLM or by vectors; tokens that rise when the activation is raised, `direct` those that the
weights alone name. `firing`: precision, recall and F1 of the pattern over the score
half's windows, `token` and `ngram` (5 tokens) of look-up tables; `random`: over random rows.
"""


@dataclass(frozen=True)
class ScoredTextTable:
    """Every text that an LLM or the vectors were asked about: one row a text and task."""

    neuron: Int64[np.ndarray, "t"]
    """Index within the layer."""
    task: list[str]
    """`detection`, `fuzzing` or `simulation`."""
    stratum: list[str]
    """`example`, `band`, `fires`, `near`, `alike`, `random`; of fuzzing `right` or `wrong`."""
    row: Int64[np.ndarray, "t"]
    """Row index in the corpus."""
    position: Int32[np.ndarray, "t"]
    """Of the text's first token, of fuzzing the marked word's."""
    prompt: list[str]
    """The text as it was asked about; what stands before it is in the table's inputs."""
    fires: Bool[np.ndarray, "t"]
    """The truth."""
    weight: Float32[np.ndarray, "t"]
    """Texts of the corpus that it stands for; 1 of fuzzing."""
    answer: Float32[np.ndarray, "t"]
    """The LLM's, in nats: above 0 is yes; of simulation the largest expected activation, 0 to 10; NaN: not asked."""
    control: Float32[np.ndarray, "t"]
    """Its answer for another neuron's description."""
    similarity: Float32[np.ndarray, "t"]
    """Largest cosine of a word of the text and the description; NaN where unknown."""
    control_similarity: Float32[np.ndarray, "t"]
    """The same of another neuron's description."""


@dataclass(frozen=True)
class PartScoreTable:
    """What is the description of each of several meanings worth by itself? One row a neuron, part and measure."""

    neuron: Int64[np.ndarray, "s"]
    """Index within the layer."""
    part: Int32[np.ndarray, "s"]
    """The meaning, from 1 on."""
    measure: list[str]
    """Of detection and embedding, as in `MEASURES`: the part's examples against texts in which the neuron is silent."""
    value: Float32[np.ndarray, "s"]
    """In [0, 1]; NaN where it could not be measured."""
    low: Float32[np.ndarray, "s"]
    """Lower end of its 95 % interval: bootstrap over texts."""
    high: Float32[np.ndarray, "s"]
    """Upper end."""
    control: Float32[np.ndarray, "s"]
    """The same of another neuron's description."""
    n: Int32[np.ndarray, "s"]
    """Texts."""
    said: list[str]
    """Why there is no value; empty where there is a value."""


@dataclass(frozen=True)
class ScoreTable:
    """What is a description worth? One row a neuron and measure."""

    neuron: Int64[np.ndarray, "s"]
    """Index within the layer."""
    measure: list[str]
    """One of `MEASURES`."""
    value: Float32[np.ndarray, "s"]
    """In [0, 1], Pearson's in [-1, 1]; NaN where it could not be measured."""
    low: Float32[np.ndarray, "s"]
    """Lower end of its 95 % interval: bootstrap over texts, the neuron held fixed."""
    high: Float32[np.ndarray, "s"]
    """Upper end."""
    control: Float32[np.ndarray, "s"]
    """The same of another neuron's description (or pattern), drawn at random, on the same texts."""
    against: Int64[np.ndarray, "s"]
    """That other neuron; -1 where there is none."""
    n: Int32[np.ndarray, "s"]
    """Texts, marks, windows or rows that it was measured on; of `output` the other neurons."""
    said: list[str]
    """Why there is no value; empty where there is a value."""
    p: Float64[np.ndarray, "s"]
    """Of `output`: (1 + other neurons whose tokens fit at least as well) / (1 + other neurons); NaN of the others."""
    q: Float64[np.ndarray, "s"]
    """Benjamini-Hochberg over the layer's neurons that have this measure."""
    texts: ScoredTextTable
    """Every text that the scores were measured on."""
    parts: PartScoreTable
    """The scores of each meaning of neurons that have several."""


@dataclass(frozen=True)
class VerdictTable:
    """Evidence -> verdict and rank: one row a neuron of a layer, in neuron order."""

    neuron: Int64[np.ndarray, "n"]
    """Index within the layer."""
    verdict: list[str]
    """One of `VERDICTS`."""
    score: Float32[np.ndarray, "n"]
    """In [0, 1] within the layer; the rank's order."""
    rank: Int64[np.ndarray, "n"]
    """0 is the best; ties by lower neuron."""
    reason: list[str]
    """One line: the evidence that decided."""


TABLES: dict[str, type | str] = {
    "similarity": SimilarityTable,
    "meanings": "neurolocal.meanings.table:MeaningsTable",
    "perturbation": PerturbationTable,
    "verdict": VerdictTable,
    "intervention": "neurolocal.intervention.table:InterventionTable",
    "summary": SummaryTable,
    "score": ScoreTable,
}
"""Every stage with the table that it puts into a store, in run order.

The stage itself is `STAGE` in `neurolocal/{name}/stage.py`. A table of its own folder is named as `module:Class`.
"""


def table_of(stage: str) -> type:
    """The type of a stage's table."""
    found = TABLES[stage]
    if isinstance(found, type):
        return found
    module, _, name = found.partition(":")
    return getattr(importlib.import_module(module), name)


def column_annotations(table: type) -> dict[str, str]:
    """Column -> its annotation as text, such as `Float32[np.ndarray, "n"]`, `list[str]` or `SubstituteTable`.

    The module of the table may postpone its annotations or not.
    """
    return {field.name: _annotation(field.type) for field in fields(table)}


def _annotation(kind: Any) -> str:
    if isinstance(kind, str):
        return kind
    return "list[str]" if kind == list[str] else kind.__name__
