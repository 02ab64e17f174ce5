"""The state of one layer during a run: the lists of every neuron, their windows, and the statistics.

Invariant: `snapshot` then `restore` gives the same state, so an interrupted and resumed run ends in the same bits as an
uninterrupted one. Cost: see "Memory" in FORMAT.md; with k = 20, windows of 61 and a sample of 1,024, 15.2 kB a neuron.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neurolocal.collect import plain
from neurolocal.collect.sample import Draw, Sampler
from neurolocal.collect.workers import Workers
from neurolocal.config import CollectConfig
from neurolocal.files import numba_cache
from neurolocal.records import BINS, CASES, SIDES, THRESHOLDS, CaseStatistics, LayerRecord, Side, Statistics, TopK

Activations = Float[Tensor, "batch pos neuron"]


class CountedBatch(NamedTuple):
    """The counted positions of a batch, which compete for the lists, and the positions drawn from it at random."""

    rows: Int64[np.ndarray, "batch"]
    """Row indices, ascending."""
    mask: Bool[np.ndarray, "batch pos"]
    """Whether each position is counted."""
    runs: Int64[np.ndarray, "batch run 2"]
    """The counted positions of each row as half-open ranges."""
    n_runs: Int64[np.ndarray, "batch"]
    """How many ranges each row has."""
    total: int
    """Counted positions of the batch."""
    drawn: Draw
    """The positions for the histogram and the sample."""

    @classmethod
    def of(
        cls, rows: Int64[np.ndarray, "batch"], mask: Bool[np.ndarray, "batch pos"], sampler: Sampler
    ) -> CountedBatch:
        """The ranges of a mask; the sampler takes in the batch."""
        edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        n_runs = (edges == 1).sum(axis=1)
        runs = np.zeros((len(mask), max(1, n_runs.max(initial=0)), 2), np.int64)
        for b in range(len(mask)):
            runs[b, : n_runs[b], 0] = np.flatnonzero(edges[b] == 1)
            runs[b, : n_runs[b], 1] = np.flatnonzero(edges[b] == -1)
        return cls(rows, mask, runs, n_runs.astype(np.int64), int(mask.sum()), sampler.draw(rows, mask))


class StateArrays(NamedTuple):
    """The arrays of a layer's state, as the compiled kernels take them.

    `side` runs over largest, smallest, and the four sign cases where they are collected.
    """

    strength: np.ndarray
    """(side, neuron, k) float32, strongest first, -inf where unused."""
    row: np.ndarray
    """(side, neuron, k) int64."""
    position: np.ndarray
    """(side, neuron, k) int32."""
    slot: np.ndarray
    """(side, neuron, k) int32: where in `window` an entry's window lies."""
    window: np.ndarray
    """(side, neuron, k, width) float32."""
    whole: np.ndarray
    """(4, neuron) int64: sums of powers 1 to 4, see `exact`."""
    fraction: np.ndarray
    """(4, neuron) int64."""
    minimum: np.ndarray
    """(neuron,) float32."""
    maximum: np.ndarray
    """(neuron,) float32."""
    positive: np.ndarray
    """(neuron,) int64."""
    above: np.ndarray
    """(threshold, neuron) int64."""
    nonfinite: np.ndarray
    """(neuron,) int64."""
    histogram: np.ndarray
    """(neuron, bin) int32, enough for 3 x 10^10 tokens; int64 would double the bytes that a batch touches."""
    case_count: np.ndarray
    """(4, neuron) int64; (4, 0) where sign cases are not collected."""
    case_whole: np.ndarray
    """(4, neuron) int64."""
    case_fraction: np.ndarray
    """(4, neuron) int64."""


class BatchRuns(NamedTuple):
    """What the compiled kernels receive of a `CountedBatch`."""

    runs: np.ndarray
    """(batch, run, 2) int64: the counted positions of a row as half-open ranges."""
    n_runs: np.ndarray
    """(batch,) int64: how many ranges a row has."""
    rows: np.ndarray
    """(batch,) int64: row indices, ascending."""
    drawn: np.ndarray
    """(n, 2) int64: row within the batch, and position, of each position that the histogram counts."""


@runtime_checkable
class State(Protocol):
    """What the loop needs of a layer's state, on the CPU or on a device."""

    def update(self, x: Activations, signs: plain.Signs, counted: CountedBatch, workers: Workers) -> None:
        """Add one batch; `signs` are the outputs of the gate and in projections where sign cases are collected."""
        ...

    def rows(self) -> Int64[np.ndarray, "_"]:
        """Row indices that the lists refer to; -1 for unused slots."""
        ...

    def snapshot(self, order: Int64[np.ndarray, "sample"]) -> LayerRecord:
        """The state as the store holds it; the sample in the order of these slots."""
        ...

    def restore(self, record: LayerRecord) -> None:
        """Replace the state by a snapshot."""
        ...


class LayerState:
    """Lists and statistics of the neurons of one layer, on the CPU."""

    def __init__(self, d_mlp: int, config: CollectConfig, *, cases: bool = False) -> None:
        """An empty state; `cases` adds lists and statistics of the four sign cases."""
        self.neurons = None if config.neurons is None else np.array(config.neurons, np.int64)
        self._chosen = None if self.neurons is None else torch.from_numpy(self.neurons)
        n, k, width = len(config.neurons or range(d_mlp)), config.k, config.before + 1 + config.after
        sides, n_cases = (2 + len(CASES), n) if cases else (2, 0)
        self.before, self.cases, self.count, self.sampled = config.before, cases, 0, 0
        self.sample = np.full((config.sample, n), np.nan, np.float32)
        self.kept = StateArrays(
            strength=np.full((sides, n, k), -np.inf, np.float32),
            row=np.full((sides, n, k), -1, np.int64),
            position=np.full((sides, n, k), -1, np.int32),
            slot=np.tile(np.arange(k, dtype=np.int32), (sides, n, 1)),
            window=np.full((sides, n, k, width), np.nan, np.float32),
            whole=np.zeros((4, n), np.int64),
            fraction=np.zeros((4, n), np.int64),
            minimum=np.full(n, np.inf, np.float32),
            maximum=np.full(n, -np.inf, np.float32),
            positive=np.zeros(n, np.int64),
            above=np.zeros((len(THRESHOLDS), n), np.int64),
            nonfinite=np.zeros(n, np.int64),
            histogram=np.zeros((n, BINS), np.int32),
            case_count=np.zeros((4, n_cases), np.int64),
            case_whole=np.zeros((4, n_cases), np.int64),
            case_fraction=np.zeros((4, n_cases), np.int64),
        )

    def update(self, x: Activations, signs: plain.Signs, counted: CountedBatch, workers: Workers) -> None:
        """Add one batch of activations."""
        numba_cache()
        from neurolocal.collect.kernels import BLOCK, update

        x = self._own(x)
        values = x if x.dtype is torch.bfloat16 else x.to(torch.float32)
        bits = _bits(values)
        floats = bits.view(np.uint16) if x.dtype is torch.bfloat16 else values.numpy()
        none = np.empty((1, 1, 1), bits.dtype)
        gate, linear = (_bits(self._own(t).to(values.dtype)) for t in signs) if signs is not None else (none, none)
        batch = BatchRuns(counted.runs, counted.n_runs, counted.rows, counted.drawn.histogram)

        def work(first: int, last: int) -> None:
            update(
                floats, bits, gate, linear, batch, self.kept, first, last, self.before, self.cases,
                LEVELS_IN_BITS[bits.dtype.str], bits.dtype.type(np.iinfo(bits.dtype).max),
            )  # fmt: skip

        n = x.shape[2]
        step = -(-n // (BLOCK * workers.n)) * BLOCK
        workers.run(work, [(low, min(low + step, n)) for low in range(0, n, step)])
        self.count += counted.total
        self.sampled += len(batch.drawn)
        if len(counted.drawn.slots):
            at = torch.from_numpy(counted.drawn.entering)
            self.sample[counted.drawn.slots] = x[at[:, 0], at[:, 1]].float().numpy()

    def rows(self) -> Int64[np.ndarray, "_"]:
        """Row indices that the lists refer to; -1 for unused slots."""
        return self.kept.row.ravel()

    def snapshot(self, order: Int64[np.ndarray, "sample"]) -> LayerRecord:
        """The state as the store holds it."""
        kept, lists = self.kept, dict[Side, TopK]()
        for i, side in enumerate((*SIDES, *CASES)[: len(kept.row)]):
            unused = kept.row[i] < 0
            window = np.take_along_axis(kept.window[i], kept.slot[i][:, :, None].astype(np.int64), axis=1)
            window[unused] = np.nan
            # The list of a sign case is ordered by |activation|; the signed activation is the middle of its window.
            activation = window[:, :, self.before].copy() if side in CASES else kept.strength[i] * _sign(side)
            activation[unused] = np.nan
            lists[side] = TopK(activation, kept.row[i].copy(), kept.position[i].copy(), window)
        columns = {name: getattr(kept, name).copy() for name in _STATISTICS}
        columns["histogram"] = kept.histogram.astype(np.int64)
        cases = (kept.case_count, kept.case_whole, kept.case_fraction)
        return LayerRecord(
            lists,
            Statistics(count=self.count, sampled=self.sampled, **columns),
            np.ascontiguousarray(self.sample[order].T),
            cases=CaseStatistics(*(a.copy() for a in cases)) if self.cases else None,
            neurons=self.neurons,
        )

    def restore(self, record: LayerRecord) -> None:
        """Replace the state by a snapshot."""
        kept, statistics = self.kept, record.statistics
        for i, (side, top) in enumerate(record.lists.items()):
            strength = np.abs(top.activation) if side in CASES else top.activation * _sign(side)
            kept.strength[i] = np.where(top.row < 0, -np.inf, strength)
            kept.row[i], kept.position[i], kept.window[i] = top.row, top.position, top.window
            kept.slot[i] = np.arange(kept.slot.shape[2])
        self.count, self.sampled = statistics.count, statistics.sampled
        for name in _STATISTICS:
            getattr(kept, name)[:] = getattr(statistics, name)
        if record.cases is not None:
            for column in dataclasses.fields(record.cases):
                getattr(kept, f"case_{column.name}")[:] = getattr(record.cases, column.name)
        self.sample[: record.sample.shape[1]] = record.sample.T

    def _own(self, x: Tensor) -> Tensor:
        """The collected neurons, contiguous in memory."""
        return (x if self._chosen is None else x[:, :, self._chosen]).contiguous()


LEVELS_IN_BITS = {
    "<i4": np.array([0.0, *THRESHOLDS], np.float32).view(np.int32),
    "<i2": (np.array([0.0, *THRESHOLDS], np.float32).view(np.int32) >> 16).astype(np.int16),
}
"""0 and the thresholds as the integers of their bits.

A bfloat16 is above a float32 threshold exactly if its bits are above the upper half of the threshold's bits.
"""

_STATISTICS = ("whole", "fraction", "minimum", "maximum", "positive", "above", "nonfinite", "histogram")
"""The arrays of `Statistics` that have the same names in `StateArrays`."""


def _sign(side: Side) -> np.float32:
    """The factor that turns the strengths of a list into activations."""
    return np.float32(-1 if side == "smallest" else 1)


def _bits(x: Tensor) -> np.ndarray:
    """The same memory seen as signed integers."""
    return x.view(torch.int16 if x.element_size() == 2 else torch.int32).numpy()
