"""Activations known over some rows -> the record of a layer, as a collection over these rows would have made it.

A position that no page shows is as one whose activation is not finite: counted, and in no list and no sum. So the
statistics say exactly what the pages say, and nothing of the corpus behind them.
Invariant: FORMAT.md's own; `check` finds no fault. Cost: some 0.3 ms a neuron of 20 rows of 1,024.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
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


def lists(neurons: Sequence[Known], k: int, *, side: Side, before: int, after: int) -> TopK:
    """The lists of some neurons, all of their texts in them."""
    n, width = len(neurons), before + 1 + after
    top = TopK(
        np.full((n, k), np.nan, np.float32), np.full((n, k), -1, np.int64), np.full((n, k), -1, np.int32),
        np.full((n, k, width), np.nan, np.float32),
    )  # fmt: skip
    for i, known in enumerate(neurons):
        if not len(known.row):
            continue
        best = order(known, side)
        row, position, values = known.row[best], known.position[best], known.values[best]
        m, pos = values.shape
        top.activation[i, :m] = values[np.arange(m), position]
        top.row[i, :m], top.position[i, :m] = row, position
        where = position[:, None] - before + np.arange(width)
        inside = (where >= 0) & (where < pos)
        cut = values[np.arange(m)[:, None], np.where(inside, where, 0)]
        top.window[i, :m] = np.where(inside, cut, np.nan)
    return top


def statistics(neurons: Sequence[Known], counted: Counted) -> Statistics:
    """Of the counted positions whose activation is known."""
    n = len(neurons)
    found = Statistics(
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
    levels = np.array(THRESHOLDS, np.float32)
    for i, known in enumerate(neurons):
        if not len(known.row):
            continue
        use = counted.of(known.row)[:, : known.values.shape[1]] & np.isfinite(known.values)
        x = known.values[use]
        if not len(x):
            continue
        found.nonfinite[i] -= len(x)
        found.minimum[i], found.maximum[i] = x.min(), x.max()
        found.positive[i] = np.count_nonzero(x > 0)
        found.above[:, i] = np.count_nonzero(x > levels[:, None], axis=1)
        found.whole[:, i], found.fraction[:, i] = _sums(x.astype(np.float64))
        text, position = np.nonzero(use)
        drawn = hashes(known.row[text], position.astype(np.int32), seed=counted.seed) < _DRAWN
        found.histogram[i] = histogram(x[drawn])
    return found


def record(
    neurons: Sequence[Known], index: Int64[np.ndarray, "neuron"], k: int, counted: Counted, *, before: int, after: int
) -> LayerRecord:
    """The record of a layer, with the largest list alone."""
    return LayerRecord(
        {"largest": lists(neurons, k, side="largest", before=before, after=after)},
        statistics(neurons, counted),
        np.empty((len(neurons), 0), np.float32),
        neurons=index,
    )


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


def case_lists(
    made: LayerRecord,
    neurons: Sequence[tuple[Known, Signs | None]],
    k: int,
    counted: Counted,
    *,
    before: int,
    after: int,
) -> LayerRecord:
    """A record with the lists and statistics of the four sign cases, of neurons whose signs are known."""
    n = len(neurons)
    count, whole, fraction = (np.zeros((4, n), np.int64) for _ in range(3))
    found: list[list[Known]] = [[] for _ in CASES]
    for i, (known, signs) in enumerate(neurons):
        assert signs is not None, "sign cases need signs"
        use = counted.of(known.row)[:, : known.values.shape[1]] & np.isfinite(known.values)
        case = 2 * np.signbit(signs[0]).astype(np.int8) + np.signbit(signs[1])
        for number in range(4):
            here = use & (case == number)
            strength = np.where(here, np.abs(known.values), -np.inf)
            has = here.any(axis=1)
            found[number].append(
                Known(known.row[has], strength.argmax(axis=1)[has].astype(np.int32), known.values[has])
            )
            count[number, i] = here.sum()
            sums = _sums(known.values[here].astype(np.float64))
            whole[number, i], fraction[number, i] = sums[0][0], sums[1][0]
    cases = {
        side: lists(some, k, side=side, before=before, after=after) for side, some in zip(CASES, found, strict=True)
    }
    return dataclasses.replace(made, lists=made.lists | cases, cases=CaseStatistics(count, whole, fraction))
