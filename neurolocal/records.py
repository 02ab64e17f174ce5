"""The vocabulary of the project as frozen types, with shapes and units.

Invariant: imports no heavy package and nothing of ours but `literals`, so any room may use it. Arrays are numpy's;
`neuron` is the index within a layer, `k` the length of a list, `window` the positions before + 1 + after the peak.
A neuron table (the evidence of a stage for one layer) is columns of equal length, one row a neuron, with the column
`neuron` saying which: stages that look at some neurons only hold only those.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, Integer

from neurolocal.literals import CASES as CASES
from neurolocal.literals import SIDES as SIDES
from neurolocal.literals import VERDICTS as VERDICTS
from neurolocal.literals import Place as Place
from neurolocal.literals import Side as Side
from neurolocal.literals import Site as Site
from neurolocal.literals import Verdict as Verdict

THRESHOLDS: tuple[float, ...] = (0.1, 0.5, 1.0, 2.0)
"""Activations above which firing is counted, beside 0."""

FIRING = 0.5
"""Share of the activation of the strongest explaining example from which a neuron fires."""

SILENT = 0.2
"""Share of the same under which it is silent."""

SCORING_EVERY = 4
"""One sampled row in so many scores; the others explain."""

HISTOGRAM_EVERY = 16
"""One position in so many, drawn by the hash of FORMAT.md, is in the histogram."""

BINS = 96
"""Bins of the histogram: 48 below 0 and 48 above, each half an octave of |activation| wide from 2^-12 to 2^12."""


def histogram_edges() -> Float64[np.ndarray, "97"]:
    """The edges of the histogram's bins, ascending; a bin holds its edge that is nearer to 0."""
    octaves = np.ldexp(1.0, np.arange(-12, 12))
    up = np.stack([octaves, 1.5 * octaves], axis=1).ravel()[1:]
    return np.concatenate([[-np.inf], -up[::-1], [0.0], up, [np.inf]])


@dataclass(frozen=True)
class Example:
    """One maximally activating example of a neuron, with the window of text around its peak."""

    rank: int
    """0 is the strongest. Even ranks explain, odd ranks score."""
    row: int
    """Row index in the corpus (Neuroscope's "Data Index")."""
    position: int
    """Position of the peak token in its row."""
    activation: float
    """Value at the site at that position."""
    start: int
    """Position in the row of the window's first entry; the peak is entry `position - start`."""
    tokens: Integer[np.ndarray, "window"]
    """Token ids of the window, cut at the row's ends."""
    activations: Float32[np.ndarray, "window"]
    """Activations of the window, as many as `tokens`."""

    @property
    def peak(self) -> int:
        """Index of the peak within the window."""
        return self.position - self.start


@dataclass(frozen=True)
class TopK:
    """The example lists of all neurons of a layer, one side: strongest first, ties by lower row, then position."""

    activation: Float32[np.ndarray, "neuron k"]
    """Unused slots are NaN, and come last."""
    row: Int64[np.ndarray, "neuron k"]
    """Row index in the corpus; unused -1."""
    position: Int32[np.ndarray, "neuron k"]
    """Position in the row; unused -1."""
    window: Float32[np.ndarray, "neuron k window"]
    """Activations around the peak; NaN beyond the row's ends and in unused slots."""


@dataclass(frozen=True)
class Statistics:
    """What the corpus says of each neuron of a layer; merges by addition, bit for bit."""

    count: int
    """Positions counted: the same for every neuron of a layer (finite or not)."""
    whole: Int64[np.ndarray, "4 neuron"]
    """Whole parts of the exact sums of the activation's powers 1 to 4; see `neurolocal.collect.exact`."""
    fraction: Int64[np.ndarray, "4 neuron"]
    """Fractions of the same sums, in units of 2^-60. Both parts of the fourth count in units of 2^16."""
    minimum: Float32[np.ndarray, "neuron"]
    """Smallest activation seen; +inf where none."""
    maximum: Float32[np.ndarray, "neuron"]
    """Largest activation seen; -inf where none."""
    positive: Int64[np.ndarray, "neuron"]
    """Positions with activation > 0."""
    above: Int64[np.ndarray, "threshold neuron"]
    """Positions with activation > each of `THRESHOLDS`."""
    nonfinite: Int64[np.ndarray, "neuron"]
    """Positions whose activation was NaN or infinite; they are in no list and no sum."""
    sampled: int
    """Positions that the histogram was made from, one in `HISTOGRAM_EVERY`."""
    histogram: Int64[np.ndarray, "neuron bin"]
    """How many of these had a finite activation in each bin of `histogram_edges`."""

    @property
    def mean(self) -> Float64[np.ndarray, "neuron"]:
        """Mean activation over finite positions; NaN where there is none."""
        return self._raw(1)

    @property
    def variance(self) -> Float64[np.ndarray, "neuron"]:
        """Population variance over finite positions, never below 0; NaN where there is none."""
        return np.maximum(self._raw(2) - self._raw(1) ** 2, 0.0)

    @property
    def skewness(self) -> Float64[np.ndarray, "neuron"]:
        """Third central moment / variance^1.5; NaN where the variance is 0."""
        m = self._raw(1)
        return self._standardised(self._raw(3) - 3 * m * self._raw(2) + 2 * m**3, 1.5)

    @property
    def kurtosis(self) -> Float64[np.ndarray, "neuron"]:
        """Fourth central moment / variance^2 (3 for a normal distribution); NaN where the variance is 0."""
        m = self._raw(1)
        return self._standardised(self._raw(4) - 4 * m * self._raw(3) + 6 * m**2 * self._raw(2) - 3 * m**4, 2.0)

    @property
    def _finite(self) -> Float64[np.ndarray, "neuron"]:
        n = (self.count - self.nonfinite).astype(np.float64)
        return np.where(n > 0, n, np.nan)

    def _raw(self, power: int) -> Float64[np.ndarray, "neuron"]:
        """Mean of a power of the activation."""
        unit = 2.0 ** MOMENT_UNITS[power - 1]
        return (self.whole[power - 1] + self.fraction[power - 1] * 2.0**-60) * unit / self._finite

    def _standardised(self, moment: Float64[np.ndarray, "neuron"], power: float) -> Float64[np.ndarray, "neuron"]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.variance > 0, moment / self.variance**power, np.nan)


MOMENT_UNITS = (0, 0, 0, 16)
"""The sums of powers 1 to 4 count in units of 2 to these: a fourth power of 20,000 over 10^9 positions still fits."""


@dataclass(frozen=True)
class CaseStatistics:
    """How often a gated neuron is in each sign case, and what its activation sums to there; rows as in `CASES`."""

    count: Int64[np.ndarray, "4 neuron"]
    """Positions with a finite activation in the case."""
    whole: Int64[np.ndarray, "4 neuron"]
    """Whole parts of the exact sums of the activation."""
    fraction: Int64[np.ndarray, "4 neuron"]
    """Fractions of the same, in units of 2^-60."""

    @property
    def frequency(self) -> Float64[np.ndarray, "4 neuron"]:
        """Share of the finite positions; NaN where there is none."""
        total = self.count.sum(axis=0).astype(np.float64)
        return self.count / np.where(total > 0, total, np.nan)

    @property
    def mean(self) -> Float64[np.ndarray, "4 neuron"]:
        """Mean activation in the case; NaN where it never occurs."""
        n = self.count.astype(np.float64)
        return (self.whole + self.fraction * 2.0**-60) / np.where(n > 0, n, np.nan)


@dataclass(frozen=True)
class PageLists:
    """What the pages of another site say of a layer's neurons beyond their examples; slots as in the `largest` list."""

    text: Int32[np.ndarray, "neuron k"]
    """Number of the text on its page (Neuroscope's rank, from 0); unused -1."""
    largest: Float64[np.ndarray, "neuron k"]
    """The text's largest activation as its page prints it, rounded; NaN where it does not."""
    smallest: Float64[np.ndarray, "neuron k"]
    """The same of the smallest."""
    range: Float64[np.ndarray, "neuron"]
    """What the page's colours reach to, as it prints it: the largest activation over its texts; NaN unknown."""
    maximum: Float64[np.ndarray, "neuron"]
    """The neuron's largest activation over the other site's whole corpus: of its examples, or from a list of maxima."""
    trusted: Bool[np.ndarray, "neuron"]
    """Whether `maximum` may be believed: False where there is none, or where a list of maxima repeats its left
    neighbour's, as a collector does that failed on a page."""


class Maxima(NamedTuple):
    """The largest activation of each neuron of a layer."""

    neuron: Int64[np.ndarray, "neuron"]
    """Index within the layer, ascending."""
    activation: Float64[np.ndarray, "neuron"]
    """NaN where it is not known, or not to be trusted."""


@dataclass(frozen=True)
class LogitEffects:
    """The tokens that a neuron's output promotes and suppresses most through the unembedding: direct logit effect.

    The neuron's output direction, folded with the final norm (its scale, which depends on the position, left out),
    times the unembedding, centred over the vocabulary.
    """

    promoted: Int32[np.ndarray, "neuron k"]
    """Token ids, strongest first."""
    promoted_effect: Float32[np.ndarray, "neuron k"]
    """Logits for an activation of 1, at a scale of 1, above the vocabulary's mean."""
    suppressed: Int32[np.ndarray, "neuron k"]
    """Token ids, strongest (most negative) first."""
    suppressed_effect: Float32[np.ndarray, "neuron k"]
    """The same of these."""


@dataclass(frozen=True)
class LayerRecord:
    """All that a collection says of the neurons of one layer at one site."""

    lists: dict[Side, TopK]
    """By side: largest, smallest, and the sign cases where they were asked for."""
    statistics: Statistics
    sample: Float32[np.ndarray, "neuron sample"]
    """The activation of every neuron at the sampled positions, in the order of `Sample`; may hold NaN."""
    cases: CaseStatistics | None = None
    neurons: Int64[np.ndarray, "neuron"] | None = None
    """Index within the layer of each; None is all of them, in order."""
    effects: LogitEffects | None = None


@dataclass(frozen=True)
class Sample:
    """Positions of the corpus drawn at random, the same for all neurons: by row, then position."""

    row: Int64[np.ndarray, "sample"]
    """Row index in the corpus."""
    position: Int32[np.ndarray, "sample"]
    """Position in the row."""

    @property
    def explaining(self) -> Bool[np.ndarray, "sample"]:
        """Whether each position lies in a row that explains; the others lie in `scoring_rows`."""
        return ~np.isin(self.row, self.scoring_rows)

    @property
    def scoring_rows(self) -> Int64[np.ndarray, "row"]:
        """The sampled rows that score and never explain: every `SCORING_EVERY`-th, ascending."""
        return np.unique(self.row)[SCORING_EVERY - 1 :: SCORING_EVERY]


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
    """Probability that as many random words of the same frequency share any spelling as much; NaN: under two words."""
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
class Neuron:
    """What is known of a neuron before it has a name."""

    neuron: int
    """Index within the layer."""
    examples: Sequence[Example]
    """Its examples, all ranks; only the even ones are looked at."""
    substitutes: SubstituteTable | None = None
    """Substitutes tried in its examples; rows of other neurons and of odd ranks are passed over."""
    tokens: Sequence[str] = field(default=())
    """Tokens to list in the notebook's question, as it stood after its stage 4. Other methods don't look at it."""
    near_misses: Sequence[str] = field(default=())
    """Texts with a word of the explaining peaks where the neuron is silent; from rows that explain."""
    promoted: Sequence[str] = field(default=())
    """Tokens that its output promotes most, strongest first."""
    subsets: Sequence[tuple[str, int]] = field(default=())
    """Subsets of the corpus that its explaining examples come from, and how many of them, most first."""


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
    """Every substitute, for whoever wants to see."""


@dataclass(frozen=True)
class SummaryTable:
    """What would a person call it? One row a described neuron, one side."""

    neuron: Int64[np.ndarray, "n"]
    """Index within the layer."""
    description: list[str]
    """One line."""
    source: list[str]
    """Who said it: `llm`, `vectors`, `counts` (token counts alone)."""
    prompt: list[str]
    """The LLM's prompt, whole; empty where none was asked."""
    answer: list[str]
    """The LLM's answer, raw; empty where none was asked."""
    gain: Float32[np.ndarray, "n"]
    """Nats a token by which the description makes the held-in words more probable; NaN where not measured."""
    candidates: list[str]
    """What the LLM chose from, one a line, best first, each with its score behind a tab; empty where it did not."""
    said: list[str]
    """What went wrong or was left out; empty where nothing did."""


MEASURES = (
    *("detection_auc", "detection_auprc", "detection_f1", "fuzzing_auc", "embedding_auc", "embedding_auprc"),
    *("firing_f1", "firing_precision", "firing_recall", "token_f1", "ngram_f1"),
    *("firing_random_f1", "token_random_f1"),
)
"""What a description or a pattern is scored by, on the score half and on random text:

`detection`: does the LLM tell texts where the neuron fires from others; AUC over the drawn texts, near misses among
them, AUPRC and F1 over texts in their natural proportion. `fuzzing`: does it tell rightly marked words from wrongly
marked ones. `embedding`: detection by word vectors, without an LLM. `firing`: precision, recall and F1 of the pattern
over the score half's windows, `token` and `ngram` (5 tokens) of look-up tables; `random`: over random rows.
"""


@dataclass(frozen=True)
class ScoredTextTable:
    """Every text that an LLM or the vectors were asked about: one row a text and task."""

    neuron: Int64[np.ndarray, "t"]
    """Index within the layer."""
    task: list[str]
    """`detection` or `fuzzing`."""
    stratum: list[str]
    """`example`, `fires`, `near`, `random`; of fuzzing `right` or `wrong`."""
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
    """The LLM's, in nats: above 0 is yes; NaN where none was asked."""
    control: Float32[np.ndarray, "t"]
    """Its answer for another neuron's description."""
    similarity: Float32[np.ndarray, "t"]
    """Largest cosine of a word of the text and the description; NaN where unknown."""
    control_similarity: Float32[np.ndarray, "t"]
    """The same of another neuron's description."""


@dataclass(frozen=True)
class ScoreTable:
    """What is a description worth? One row a neuron and measure."""

    neuron: Int64[np.ndarray, "s"]
    """Index within the layer."""
    measure: list[str]
    """One of `MEASURES`."""
    value: Float32[np.ndarray, "s"]
    """In [0, 1]; NaN where it could not be measured."""
    low: Float32[np.ndarray, "s"]
    """Lower end of its 95 % interval: bootstrap over texts, the neuron held fixed."""
    high: Float32[np.ndarray, "s"]
    """Upper end."""
    control: Float32[np.ndarray, "s"]
    """The same of another neuron's description (or pattern), drawn at random, on the same texts."""
    against: Int64[np.ndarray, "s"]
    """That other neuron; -1 where there is none."""
    n: Int32[np.ndarray, "s"]
    """Texts, marks, windows or rows that it was measured on."""
    said: list[str]
    """Why there is no value; empty where there is one."""
    texts: ScoredTextTable
    """Every text that was asked about, for whoever wants to see."""


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
    "perturbation": PerturbationTable,
    "verdict": VerdictTable,
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
