"""Two stores of one model, or a store and a list of maxima, joined neuron by neuron: where do they agree?

Invariant: tokens and texts are compared as text, never by id or row number, so tokenizers and corpora may differ. Each
figure of overlap is given beside its null: the same with another neuron of the layer, drawn at random (seeded by the
layer). Maxima that are unknown or not trusted are left out and counted.
Cost: one layer of lists of each side in memory, and 100 bytes a distinct example of theirs; one pass over our rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import nan
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from neurolocal.errors import StoreError
from neurolocal.neuroscope.compare import figures
from neurolocal.neuroscope.compare.comparison import TOKENS, Comparison, LayerComparison, NeuronColumns
from neurolocal.neuroscope.compare.containment import Containment, ExamplePlaces, find_contained
from neurolocal.neuroscope.compare.notes import notes
from neurolocal.neuroscope.compare.overlap import jaccard, rank_biased_overlap
from neurolocal.neuroscope.compare.sides import ComparisonSide, ExamplePeaks, open_side, require_same_model
from neurolocal.neuroscope.compare.tail import expected_maximum
from neurolocal.progress import Bar
from neurolocal.records import Site


def compare(
    own: Path,
    theirs: Path,
    *,
    layers: Iterable[int] | None = None,
    site: Site | None = None,
    their_site: Site | None = None,
    their_rows: int | None = None,
    say: Callable[[str], None],
    bar: bool = True,
) -> Comparison:
    """Compare two sides.

    Args:
        own: a store, or a JSON list of maxima.
        theirs: the same; pages come as an imported store.
        layers: those to compare; None is those of both.
        site: which site of ours; None is the first.
        their_site: which of theirs; None is the same as ours if they have it.
        their_rows: rows of their corpus, if their side does not state it.
        say: receives lines about what is being done.
        bar: whether to show progress.

    Raises:
        StoreError: a side is missing or damaged, or the two are not of one model.
    """
    sides: list[ComparisonSide] = []
    try:
        sides.append(open_side(Path(own), site=site))
        sides.append(open_side(Path(theirs), site=their_site or site, like=sides[0], rows=their_rows))
        return _compare(*sides, layers=None if layers is None else list(layers), say=say, bar=bar)
    finally:
        for side in sides:
            side.close()


def _compare(
    own: ComparisonSide, theirs: ComparisonSide, *, layers: list[int] | None, say: Callable[[str], None], bar: bool
) -> Comparison:
    chosen = require_same_model(own, theirs, layers)
    texts = _SharedTexts(own, theirs, chosen, say=say, bar=bar) if own.store and theirs.store else None
    tokens = _PeakTokens(own, theirs)
    found = [
        _layer(own, theirs, layer, tokens, texts)
        for layer in Bar(chosen, desc="compare", unit="layer", disable=not bar)
    ]
    if not sum(len(one.neurons.neuron) for one in found):
        raise StoreError(
            f"comparing {own.path} with {theirs.path}: they have no neuron in common in layers "
            f"{', '.join(map(str, chosen[:12]))}. Collect, or import, the same neurons."
        )
    facts = own.facts(), theirs.facts()
    overall = figures.overall([one.figures for one in found], [one.neurons for one in found])
    return Comparison(*facts, found, overall, notes(*facts, found, overall))


def _layer(
    own: ComparisonSide, theirs: ComparisonSide, layer: int, tokens: _PeakTokens, texts: _SharedTexts | None
) -> LayerComparison:
    maxima = own.maxima(layer), theirs.maxima(layer)
    neuron, at_own, at_theirs = np.intersect1d(maxima[0].neuron, maxima[1].neuron, return_indices=True)
    ours, others = maxima[0].activation[at_own], maxima[1].activation[at_theirs]
    n = len(neuron)
    peaks = [side.peaks(layer) for side in (own, theirs)]
    mine, yours = (None if p is None else p.of(at) for p, at in zip(peaks, (at_own, at_theirs), strict=True))
    ranked = [tokens.ranked(i, p, n) for i, p in enumerate((mine, yours))]
    other = _others(n, layer)
    empty = np.full(n, -1)
    counts = texts.count(mine, yours, other) if texts and mine and yours else (empty, empty, empty, empty)
    pairs = list(zip(*ranked, strict=True))
    strangers = [(mine, ranked[1][i]) for mine, i in zip(ranked[0], other.tolist(), strict=True)] if n > 1 else []
    overlaps = [[function(a, b) for a, b in pairs] for function in (jaccard, rank_biased_overlap)]
    nulls = [[function(a, b) for a, b in strangers] or [nan] * n for function in (jaccard, rank_biased_overlap)]
    neurons = NeuronColumns(
        neuron=neuron,
        own=ours,
        theirs=others,
        ratio_expected=_expected(own.rows, theirs.rows, mine, yours, ours, others),
        jaccard=np.array(overlaps[0], np.float64),
        jaccard_null=np.array(nulls[0], np.float64),
        rbo=np.array(overlaps[1], np.float64),
        rbo_null=np.array(nulls[1], np.float64),
        own_examples=_used(mine, n),
        their_examples=_used(yours, n),
        known=counts[0],
        contained=counts[1],
        shared=counts[2],
        shared_null=counts[3],
        agreement=figures.agreement(ours, others, np.array(overlaps[1], np.float64)),
    )
    shown = [[tokens.shown(list_) for list_ in lists] for lists in ranked]
    return LayerComparison(layer, figures.figures(neurons), neurons, *shown)


def _used(peaks: ExamplePeaks | None, n: int) -> Int64[np.ndarray, "n"]:
    return np.zeros(n, np.int64) if peaks is None else (peaks.row >= 0).sum(axis=1)


def _others(n: int, layer: int) -> Int64[np.ndarray, "n"]:
    """Another neuron for each neuron, drawn at random: a permutation without fixed points."""
    order = np.random.default_rng([0, layer]).permutation(n)
    other = np.empty(n, np.int64)
    other[order] = np.roll(order, 1)
    return other


def _expected(
    own_rows: int | None,
    their_rows: int | None,
    own: ExamplePeaks | None,
    theirs: ExamplePeaks | None,
    own_maximum: Float64[np.ndarray, "n"],
    their_maximum: Float64[np.ndarray, "n"],
) -> Float64[np.ndarray, "n"]:
    """The expected own / their maximum, from the lists of the larger corpus, which shows more of the tail."""
    unknown = np.full(len(own_maximum), np.nan)
    if own_rows is None or their_rows is None or (own is None and theirs is None):
        return unknown
    from_theirs = own is None or (theirs is not None and their_rows >= own_rows)
    if from_theirs:
        assert theirs is not None
        of_own = expected_maximum(theirs.activation.astype(np.float64), rows=their_rows, wanted=own_rows)
        above, below = of_own, their_maximum
    else:
        assert own is not None
        of_theirs = expected_maximum(own.activation.astype(np.float64), rows=own_rows, wanted=their_rows)
        above, below = own_maximum, of_theirs
    known = (below > 0) & np.isfinite(above)
    return np.where(known, above, np.nan) / np.where(known, below, 1.0)


class _PeakTokens:
    """Token ids of both sides -> numbers of their texts; equal texts have equal numbers."""

    def __init__(self, own: ComparisonSide, theirs: ComparisonSide) -> None:
        numbers: dict[str, int] = {}
        self._number: list[Int64[np.ndarray, "d_vocab"]] = []
        for side in (own, theirs):
            texts = [t.decode("utf-8", "replace") for t in side.store.vocabulary.tokens] if side.store else []
            self._number.append(np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64))
        self._texts = list(numbers)

    def ranked(self, side: int, peaks: ExamplePeaks | None, n: int) -> list[list[int]]:
        """The distinct peak tokens of each neuron, strongest first."""
        if peaks is None:
            return [[] for _ in range(n)]
        used = (peaks.row >= 0).sum(axis=1).tolist()
        numbers = self._number[side][np.maximum(peaks.token, 0)].tolist()
        return [list(dict.fromkeys(row[:k])) for row, k in zip(numbers, used, strict=True)]

    def shown(self, ranked: list[int]) -> tuple[str, ...]:
        """The first of them as text."""
        return tuple(self._texts[i] for i in ranked[:TOKENS])


class _SharedTexts:
    """Which of their examples' texts our rows contain, found in one pass for all layers."""

    def __init__(
        self, own: ComparisonSide, theirs: ComparisonSide, layers: list[int], *, say: Callable[[str], None], bar: bool
    ) -> None:
        assert own.store is not None
        assert theirs.store is not None
        self._width = theirs.store.rows_stored[0].shape[1]
        code = np.empty(0, np.int64)
        for layer in layers:
            peaks = theirs.peaks(layer)
            if peaks is not None:
                code = np.union1d(code, self._code(peaks)[peaks.row >= 0])
        self._codes, self._n = code, max(len(own.store.row_index), 1)
        if len(code):
            say(f"compare: searching for the text of {len(code):,} examples in {len(own.store.row_index):,} rows")
        wanted = ExamplePlaces(*np.divmod(code, max(self._width, 1)))
        self._found: Containment = find_contained(theirs.store, wanted, own.store, progress=bar)

    def count(
        self, own: ExamplePeaks, theirs: ExamplePeaks, other: Int64[np.ndarray, "n"]
    ) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"], Int64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
        """By neuron, how many of their examples have a key, are contained, shared, and shared with another neuron."""
        used, n = theirs.row >= 0, len(theirs.row)
        place = np.searchsorted(self._codes, self._code(theirs)[used])
        neuron = np.nonzero(used)[0]
        known, contained = self._found.known[place], self._found.contained[place]
        counts = [np.bincount(neuron[mask], minlength=n) for mask in (known, contained)]
        first = self._found.offsets[place]
        found = self._found.offsets[place + 1] - first
        within = np.arange(found.sum()) - np.repeat(np.cumsum(found) - found, found)
        row, example = self._found.rows[np.repeat(first, found) + within], np.repeat(np.arange(len(place)), found)
        for order in (np.arange(n), other):
            rows = own.row[order]
            mine = np.unique((np.arange(n)[:, None] * self._n + rows)[rows >= 0])
            hit = np.unique(example[np.isin(neuron[example] * self._n + row, mine)])
            counts.append(np.bincount(neuron[hit], minlength=n) if n > 1 or order is not other else np.full(n, -1))
        return counts[0], counts[1], counts[2], counts[3]

    def _code(self, peaks: ExamplePeaks) -> Int64[np.ndarray, "neuron k"]:
        """Row and position as one number, below the number of stored tokens."""
        return peaks.row * self._width + peaks.position
