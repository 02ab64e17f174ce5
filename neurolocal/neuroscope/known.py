"""Activations known over some rows -> the record of a layer, as a collection over these rows would have made it.

A position that no page shows is as one whose activation is not finite: counted, and in no list and no sum. So the
statistics say exactly what the pages say, and nothing of the corpus behind them.
Invariant: FORMAT.md's own; `check` finds no fault. Cost: some 0.3 ms a neuron of 20 rows of 1,024.
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


class Known(NamedTuple):
    """What is known of one neuron."""

    row: Int64[np.ndarray, "text"]
    """Data indices, each once."""
    position: Int32[np.ndarray, "text"]
    """Of the peaks."""
    values: Float32[np.ndarray, "text pos"]
    """Activations over the rows; NaN where unknown."""


Signs = tuple[Float32[np.ndarray, "_ _"], Float32[np.ndarray, "_ _"]]
"""Outputs of the gate and the in projection, (text, pos)."""


class Counted(NamedTuple):
    """Which positions of the rows count, over all rows."""

    of: Callable[[Int64[np.ndarray, "text"]], Bool[np.ndarray, "text pos"]]
    """Of some rows."""
    n: int
    """All of them."""
    drawn: int
    """How many of all are in the histogram's draw."""
    seed: int
    """Of the draw."""


def order(known: Known, side: Side = "largest") -> Int64[np.ndarray, "text"]:
    """The texts as a list holds them: strongest first, ties by the lower row."""
    peak = known.values[np.arange(len(known.row)), known.position]
    strength = np.abs(peak) if side not in ("largest", "smallest") else -peak if side == "smallest" else peak
    return np.lexsort((known.position, known.row, -strength))


class LayerBuilder:
    """A layer's record, made neuron by neuron: one neuron's whole rows are in memory at a time."""

    def __init__(
        self, neurons: Int64[np.ndarray, "neuron"], k: int, counted: Counted, *, before: int, after: int, cases: bool
    ) -> None:
        """Nothing known yet.

        Args:
            neurons: index within the layer of each.
            k: slots of a list.
            counted: which positions count.
            before, after: positions of a window.
            cases: whether the sign cases have lists, too.
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

    def add(self, at: int, known: Known, signs: Signs | None = None) -> None:
        """Take in what is known of the neuron at that place; all of its texts enter its list."""
        if not len(known.row):
            return
        _fill(self.lists["largest"], at, known, "largest", self.before)
        use = self.counted.of(known.row)[:, : known.values.shape[1]] & np.isfinite(known.values)
        if use.any():
            self._count(at, known, use)
        if self.cases is not None:
            assert signs is not None, "sign cases need signs"
            self._by_case(at, known, signs, use)

    def record(self) -> LayerRecord:
        """All that was taken in."""
        none = np.empty((len(self.neurons), 0), np.float32)
        return LayerRecord(self.lists, self.statistics, none, cases=self.cases, neurons=self.neurons)

    def _count(self, at: int, known: Known, use: Bool[np.ndarray, "text pos"]) -> None:
        found, x = self.statistics, known.values[use]
        found.nonfinite[at] -= len(x)
        found.minimum[at], found.maximum[at] = x.min(), x.max()
        found.positive[at] = np.count_nonzero(x > 0)
        found.above[:, at] = np.count_nonzero(x > np.array(THRESHOLDS, np.float32)[:, None], axis=1)
        found.whole[:, at], found.fraction[:, at] = _sums(x.astype(np.float64))
        text, position = np.nonzero(use)
        some = hashes(known.row[text], position.astype(np.int32), seed=self.counted.seed) < _DRAWN
        found.histogram[at] = histogram(x[some])

    def _by_case(self, at: int, known: Known, signs: Signs, use: Bool[np.ndarray, "text pos"]) -> None:
        assert self.cases is not None
        case = 2 * np.signbit(signs[0]).astype(np.int8) + np.signbit(signs[1])
        for number, side in enumerate(CASES):
            here = use & (case == number)
            strongest = np.where(here, np.abs(known.values), -np.inf).argmax(axis=1).astype(np.int32)
            has = here.any(axis=1)
            if has.any():
                inside = Known(known.row[has], strongest[has], known.values[has])
                _fill(self.lists[side], at, inside, side, self.before)
            self.cases.count[number, at] = here.sum()
            whole, fraction = _sums(known.values[here].astype(np.float64))
            self.cases.whole[number, at], self.cases.fraction[number, at] = whole[0], fraction[0]


def _empty_list(n: int, k: int, width: int) -> TopK:
    return TopK(
        np.full((n, k), np.nan, np.float32), np.full((n, k), -1, np.int64), np.full((n, k), -1, np.int32),
        np.full((n, k, width), np.nan, np.float32),
    )  # fmt: skip


def _fill(top: TopK, at: int, known: Known, side: Side, before: int) -> None:
    """Put a neuron's texts into its list."""
    best = order(known, side)
    row, position, values = known.row[best], known.position[best], known.values[best]
    m, pos = values.shape
    top.activation[at, :m] = values[np.arange(m), position]
    top.row[at, :m], top.position[at, :m] = row, position
    where = position[:, None] - before + np.arange(top.window.shape[2])
    inside = (where >= 0) & (where < pos)
    top.window[at, :m] = np.where(inside, values[np.arange(m)[:, None], np.where(inside, where, 0)], np.nan)


_DRAWN = np.uint64(2**64 // HISTOGRAM_EVERY)


def drawn(row: Int64[np.ndarray, "n"], position: Int32[np.ndarray, "n"], seed: int) -> int:
    """How many positions are in the histogram's draw."""
    return int(np.count_nonzero(hashes(row, position, seed=seed) < _DRAWN))


def histogram(x: Float32[np.ndarray, "n"]) -> Int64[np.ndarray, "bin"]:
    """Counts by `records.histogram_edges`; a bin holds its edge that is nearer to 0."""
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
