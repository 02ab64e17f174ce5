"""Activations over some rows -> the record of a layer, as a collection over these rows would have made it.

A position that no page shows is treated like one whose activation is not finite: it is counted, and it enters no list
and no sum. So the statistics describe exactly what the pages show.
Invariant: the record follows FORMAT.md; `check` finds no fault.
Cost: O(texts x positions) a neuron; one neuron's full rows are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from neurolocal.collect.exact import LIMIT, SCALE
from neurolocal.collect.sample import hashes
from neurolocal.records import (
    BINS,
    CASES,
    HISTOGRAM_EVERY,
    MOMENT_UNITS,
    THRESHOLDS,
    CaseStatistics,
    LayerRecord,
    Side,
    Statistics,
    TopK,
    histogram_edges,
)


class NeuronActivations(NamedTuple):
    """The activations of one neuron that a source shows."""

    row: Int64[np.ndarray, "text"]
    """Data indices, each once."""
    position: Int32[np.ndarray, "text"]
    """Position of each text's peak."""
    values: Float32[np.ndarray, "text pos"]
    """Activations over the rows; NaN where not shown."""


Signs = tuple[Float32[np.ndarray, "_ _"], Float32[np.ndarray, "_ _"]]
"""Outputs of the gate and the in projection, (text, pos)."""


class CountedPositions(NamedTuple):
    """Which positions of the rows count."""

    of: Callable[[Int64[np.ndarray, "text"]], Bool[np.ndarray, "text pos"]]
    """The mask of some rows, by row index."""
    n: int
    """Number of counted positions, over all rows."""
    drawn: int
    """How many of these are drawn for the histogram."""
    seed: int
    """Seed of the draw."""


def order(shown: NeuronActivations, side: Side = "largest") -> Int64[np.ndarray, "text"]:
    """The order of the texts in a list: strongest first, ties by the lower row."""
    peak = shown.values[np.arange(len(shown.row)), shown.position]
    strength = np.abs(peak) if side not in ("largest", "smallest") else -peak if side == "smallest" else peak
    return np.lexsort((shown.position, shown.row, -strength))


class LayerBuilder:
    """Builds a layer's record, neuron by neuron."""

    def __init__(
        self,
        neurons: Int64[np.ndarray, "neuron"],
        k: int,
        counted: CountedPositions,
        *,
        before: int,
        after: int,
        cases: bool,
    ) -> None:
        """An empty record.

        Args:
            neurons: their indices within the layer.
            k: examples a list holds.
            counted: which positions count.
            before, after: positions of a window before and after the peak.
            cases: whether the sign cases also have lists.
        """
        n = len(neurons)
        self.neurons, self.counted, self.before = neurons, counted, before
        sides: tuple[Side, ...] = ("largest", *(CASES if cases else ()))
        self.lists: dict[Side, TopK] = {side: _empty_list(n, k, before + 1 + after) for side in sides}
        self.cases = CaseStatistics(*(np.zeros((4, n), np.int64) for _ in range(3))) if cases else None
        self.statistics = Statistics(
            count=counted.n,
            whole=np.zeros((4, n), np.int64),
            fraction=np.zeros((4, n), np.int64),
            minimum=np.full(n, np.inf, np.float32),
            maximum=np.full(n, -np.inf, np.float32),
            positive=np.zeros(n, np.int64),
            above=np.zeros((len(THRESHOLDS), n), np.int64),
            nonfinite=np.full(n, counted.n, np.int64),
            sampled=counted.drawn,
            histogram=np.zeros((n, BINS), np.int64),
        )

    def add(self, at: int, shown: NeuronActivations, signs: Signs | None = None) -> None:
        """Add the activations of the neuron at index `at`; all of its texts enter its list."""
        if not len(shown.row):
            return
        _fill(self.lists["largest"], at, shown, "largest", self.before)
        use = self.counted.of(shown.row)[:, : shown.values.shape[1]] & np.isfinite(shown.values)
        if use.any():
            self._count(at, shown, use)
        if self.cases is not None:
            assert signs is not None, "sign cases need signs"
            self._by_case(at, shown, signs, use)

    def record(self) -> LayerRecord:
        """The record of all neurons that were added."""
        none = np.empty((len(self.neurons), 0), np.float32)
        return LayerRecord(self.lists, self.statistics, none, cases=self.cases, neurons=self.neurons)

    def _count(self, at: int, shown: NeuronActivations, use: Bool[np.ndarray, "text pos"]) -> None:
        found, x = self.statistics, shown.values[use]
        found.nonfinite[at] -= len(x)
        found.minimum[at], found.maximum[at] = x.min(), x.max()
        found.positive[at] = np.count_nonzero(x > 0)
        found.above[:, at] = np.count_nonzero(x > np.array(THRESHOLDS, np.float32)[:, None], axis=1)
        found.whole[:, at], found.fraction[:, at] = _sums(x.astype(np.float64))
        text, position = np.nonzero(use)
        some = hashes(shown.row[text], position.astype(np.int32), seed=self.counted.seed) < _DRAWN
        found.histogram[at] = histogram(x[some])

    def _by_case(self, at: int, shown: NeuronActivations, signs: Signs, use: Bool[np.ndarray, "text pos"]) -> None:
        assert self.cases is not None
        case = 2 * np.signbit(signs[0]).astype(np.int8) + np.signbit(signs[1])
        for number, side in enumerate(CASES):
            here = use & (case == number)
            strongest = np.where(here, np.abs(shown.values), -np.inf).argmax(axis=1).astype(np.int32)
            has = here.any(axis=1)
            if has.any():
                inside = NeuronActivations(shown.row[has], strongest[has], shown.values[has])
                _fill(self.lists[side], at, inside, side, self.before)
            self.cases.count[number, at] = here.sum()
            whole, fraction = _sums(shown.values[here].astype(np.float64))
            self.cases.whole[number, at], self.cases.fraction[number, at] = whole[0], fraction[0]


def _empty_list(n: int, k: int, width: int) -> TopK:
    return TopK(
        np.full((n, k), np.nan, np.float32), np.full((n, k), -1, np.int64), np.full((n, k), -1, np.int32),
        np.full((n, k, width), np.nan, np.float32),
    )  # fmt: skip


def _fill(top: TopK, at: int, shown: NeuronActivations, side: Side, before: int) -> None:
    """Write a neuron's texts into its list."""
    best = order(shown, side)
    row, position, values = shown.row[best], shown.position[best], shown.values[best]
    m, pos = values.shape
    top.activation[at, :m] = values[np.arange(m), position]
    top.row[at, :m], top.position[at, :m] = row, position
    where = position[:, None] - before + np.arange(top.window.shape[2])
    inside = (where >= 0) & (where < pos)
    top.window[at, :m] = np.where(inside, values[np.arange(m)[:, None], np.where(inside, where, 0)], np.nan)


_DRAWN = np.uint64(2**64 // HISTOGRAM_EVERY)


def drawn(row: Int64[np.ndarray, "n"], position: Int32[np.ndarray, "n"], seed: int) -> int:
    """How many positions are drawn for the histogram."""
    return int(np.count_nonzero(hashes(row, position, seed=seed) < _DRAWN))


def histogram(x: Float32[np.ndarray, "n"]) -> Int64[np.ndarray, "bin"]:
    """Counts by `records.histogram_edges`; a bin includes the edge that is nearer to 0."""
    edges = histogram_edges()
    up = np.searchsorted(edges, x, side="right") - 1
    down = np.searchsorted(edges, x, side="left") - 1
    return np.bincount(np.clip(np.where(x >= 0, up, down), 0, BINS - 1), minlength=BINS).astype(np.int64)


def _sums(x: Float64[np.ndarray, "n"]) -> tuple[Int64[np.ndarray, "4"], Int64[np.ndarray, "4"]]:
    """Sums of powers 1 to 4 as fixed point, in the units of `MOMENT_UNITS`."""
    square = x * x
    sums = np.array([x.sum(), square.sum(), (square * x).sum(), (square * square).sum()])
    values = np.clip(np.nan_to_num(sums * 2.0 ** -np.array(MOMENT_UNITS)), -LIMIT, LIMIT)
    floor = np.floor(values)
    return floor.astype(np.int64), ((values - floor) * 2.0**SCALE).astype(np.int64)
