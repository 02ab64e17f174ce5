"""The vocabulary of the project as frozen types, with shapes and units.

Invariant: imports no heavy package and nothing of ours but `literals` and `tables`, so any room may use it. Arrays are
numpy's; `neuron` is the index within a layer, `k` the length of a list, `window` the positions before + 1 + after the
peak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
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
from neurolocal.tables import KINDS as KINDS
from neurolocal.tables import MEASURES as MEASURES
from neurolocal.tables import TABLES as TABLES
from neurolocal.tables import PerturbationTable as PerturbationTable
from neurolocal.tables import ScoredTextTable as ScoredTextTable
from neurolocal.tables import ScoreTable as ScoreTable
from neurolocal.tables import SimilarityTable as SimilarityTable
from neurolocal.tables import SubstituteTable as SubstituteTable
from neurolocal.tables import SummaryTable as SummaryTable
from neurolocal.tables import VerdictTable as VerdictTable
from neurolocal.tables import table_of as table_of

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


N_BANDS = 10
"""Bands of activation that keep examples: bins of the histogram, from the one with the neuron's maximum downwards."""


def histogram_edges() -> Float64[np.ndarray, "97"]:
    """The edges of the histogram's bins, ascending; a bin holds its edge that is nearer to 0."""
    octaves = np.ldexp(1.0, np.arange(-12, 12))
    up = np.stack([octaves, 1.5 * octaves], axis=1).ravel()[1:]
    return np.concatenate([[-np.inf], -up[::-1], [0.0], up, [np.inf]])


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        """One line without the arrays; `Store.text` gives its text."""
        return (
            f"<Example {self.rank}: {self.activation:.4g} at position {self.position} of row {self.row}, "
            f"{len(self.tokens)} tokens from {self.start}>"
        )


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
    text: Int64[np.ndarray, "neuron k"] | None = None
    """Hash of the text up to the peak, in collections that keep each text once (`dedupe`); unused 0."""


@dataclass(frozen=True)
class Bands:
    """Random examples of each band of activation; band 0 holds the neuron's maximum, each next one is a bin lower.

    A row is in the band of its strongest counted position, which is the example. Entries are in the order of their
    rows' hashes, which is random. There are no windows: they would double the store.
    """

    activation: Float32[np.ndarray, "neuron band entry"]
    """Unused entries are NaN, and come last."""
    row: Int64[np.ndarray, "neuron band entry"]
    """Row index in the corpus; unused -1."""
    position: Int32[np.ndarray, "neuron band entry"]
    """Position in the row; unused -1."""
    count: Int64[np.ndarray, "neuron band"]
    """Rows of the corpus in the band, kept or not."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of each neuron of a layer over all counted positions; they merge by addition, bit for bit."""

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
    """Positions whose activation was NaN or infinite, or that were not routed to the neuron's expert; they are in no
    list and no sum."""
    sampled: int
    """Positions that the histogram was made from, one in `HISTOGRAM_EVERY`."""
    histogram: Int64[np.ndarray, "neuron bin"]
    """How many of these had a finite activation in each bin of `histogram_edges`."""

    @cached_property
    def mean(self) -> Float64[np.ndarray, "neuron"]:
        """Mean activation over finite positions; NaN where there is none."""
        return self._raw(1)

    @cached_property
    def variance(self) -> Float64[np.ndarray, "neuron"]:
        """Population variance over finite positions, never below 0; NaN where there is none."""
        return np.maximum(self._raw(2) - self._raw(1) ** 2, 0.0)

    @cached_property
    def skewness(self) -> Float64[np.ndarray, "neuron"]:
        """Third central moment / variance^1.5; NaN where the variance is 0."""
        m = self._raw(1)
        return self._standardised(self._raw(3) - 3 * m * self._raw(2) + 2 * m**3, 1.5)

    @cached_property
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

MOMENTS = ("mean", "variance", "skewness", "kurtosis")
"""The moments that `Statistics` derives from the sums."""


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
    """What the pages of another site contain about a layer's neurons beyond examples; slots as in `largest`."""

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
class Experts:
    """The experts of a layer, in the order of their neurons.

    A neuron of such a layer is (expert, index); its number in the layer is `offsets[expert]` + index. It has no
    activation at a position that is not routed to its expert: that is in `Statistics.nonfinite` and in nothing else.
    """

    offsets: Int64[np.ndarray, "_"]
    """The neurons of expert e are `offsets[e]` to `offsets[e + 1]`; one more than experts, from 0, always rising."""
    shared: int
    """How many experts, the last ones, run at every position: 0 or 1."""
    count: Int64[np.ndarray, "expert"]
    """Counted positions that were routed to each expert."""

    def of(self, neuron: int) -> tuple[int, int]:
        """The expert of a neuron, and the neuron's index within it."""
        expert = int(np.searchsorted(self.offsets, neuron, side="right")) - 1
        return expert, neuron - int(self.offsets[expert])

    def name(self, neuron: int) -> str:
        """The neuron in words: `expert 3 · neuron 17`."""
        expert, index = self.of(neuron)
        own = len(self.count) - self.shared
        return f"expert {expert} · neuron {index}" if expert < own else f"shared expert · neuron {index}"

    def routed(self, neurons: Int64[np.ndarray, "neuron"]) -> Int64[np.ndarray, "neuron"]:
        """Counted positions that were routed to the expert of each neuron."""
        return self.count[np.searchsorted(self.offsets, neurons, side="right") - 1]


@dataclass(frozen=True)
class LayerRecord:
    """The result of a collection for the neurons of one layer at one site."""

    lists: dict[Side, TopK]
    """By side: largest, smallest, and the sign cases where they were asked for."""
    statistics: Statistics
    sample: Float32[np.ndarray, "neuron sample"]
    """The activation of every neuron at the sampled positions, in the order of `Sample`; may hold NaN."""
    cases: CaseStatistics | None = None
    neurons: Int64[np.ndarray, "neuron"] | None = None
    """Index within the layer of each; None is all of them, in order."""
    effects: LogitEffects | None = None
    experts: Experts | None = None
    """Whose neurons they are; None for a layer without experts."""
    bands: Bands | None = None
    """Examples of each band of activation; None where none were asked for."""

    @property
    def unreadable(self) -> Int64[np.ndarray, "neuron"]:
        """Positions with a NaN or infinite activation: `nonfinite` less the positions routed to other experts."""
        s = self.statistics
        if self.experts is None:
            return s.nonfinite
        neurons = np.arange(len(s.nonfinite)) if self.neurons is None else self.neurons
        return s.nonfinite - (s.count - self.experts.routed(neurons))


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
class Neuron:
    """A neuron with the evidence that describing and scoring start from."""

    neuron: int
    """Index within the layer."""
    examples: Sequence[Example]
    """Its examples, all ranks; even ranks explain, odd ranks score."""
    substitutes: SubstituteTable | None = None
    """Substitutes tried in the examples of the layer; rows of other neurons and of odd ranks are ignored."""
    tokens: Sequence[str] = field(default=())
    """Tokens to list in the notebook's question, as they are after its stage 4; other methods ignore them."""
    near_misses: Sequence[str] = field(default=())
    """Texts with a word of the explaining peaks where the neuron is silent; from rows that explain."""
    weaker: Sequence[str] = field(default=())
    """Texts in which it fires less, strongest first, the peak marked, each with its activation from 0 to 10."""
    promoted: Sequence[str] = field(default=())
    """Tokens that its output promotes most, strongest first."""
    subsets: Sequence[tuple[str, int]] = field(default=())
    """Subsets of the corpus that its explaining examples come from, and how many of them, most first."""
