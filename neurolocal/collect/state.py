"""The state of one layer during a run: the lists of every neuron, their windows, and the statistics.

Invariant: `snapshot` then `restore` gives the same state, so a run that stops and goes on ends as one that did not.
Cost: see "Memory" in FORMAT.md; with k = 20, windows of 61 and a sample of 1,024, 15.2 kB a neuron.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neurolocal.collect import plain
from neurolocal.collect.sample import Drawn, Sampler
from neurolocal.collect.workers import Workers
from neurolocal.config import CollectConfig
from neurolocal.records import BINS, CASES, SIDES, THRESHOLDS, CaseStatistics, LayerRecord, Side, Statistics, TopK

Activations = Float[Tensor, "batch pos neuron"]


class Counted(NamedTuple):
    """What of a batch competes and counts, and what is drawn from it."""

    rows: Int64[np.ndarray, "batch"]
    """Row indices, ascending."""
    mask: Bool[np.ndarray, "batch pos"]
    runs: Int64[np.ndarray, "batch run 2"]
    """The same as half-open ranges."""
    n_runs: Int64[np.ndarray, "batch"]
    total: int
    drawn: Drawn

    @classmethod
    def of(cls, rows: Int64[np.ndarray, "batch"], mask: Bool[np.ndarray, "batch pos"], sampler: Sampler) -> Counted:
        """The ranges of a mask; the sampler takes in the batch."""
        edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        n_runs = (edges == 1).sum(axis=1)
        runs = np.zeros((len(mask), max(1, n_runs.max(initial=0)), 2), np.int64)
        for b in range(len(mask)):
            runs[b, : n_runs[b], 0] = np.flatnonzero(edges[b] == 1)
            runs[b, : n_runs[b], 1] = np.flatnonzero(edges[b] == -1)
        return cls(rows, mask, runs, n_runs.astype(np.int64), int(mask.sum()), sampler.draw(rows, mask))


class Kept(NamedTuple):
    """The arrays of a layer's state; `side` runs over largest, smallest, and the four sign cases where kept."""

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
    """(neuron, bin) int32: half the memory, which is what a batch waits for; full after 3 x 10^10 tokens."""
    case_count: np.ndarray
    """(4, neuron) int64; without neurons where cases are not kept."""
    case_whole: np.ndarray
    """(4, neuron) int64."""
    case_fraction: np.ndarray
    """(4, neuron) int64."""


class Rows(NamedTuple):
    """Which rows and positions of a batch count."""

    runs: np.ndarray
    """(batch, run, 2) int64: the counted positions of a row as half-open ranges."""
    n_runs: np.ndarray
    """(batch,) int64: how many of them a row has."""
    rows: np.ndarray
    """(batch,) int64: row indices, ascending."""
    drawn: np.ndarray
    """(n, 2) int64: row within the batch, and position, of the positions that the histogram takes."""


@runtime_checkable
class State(Protocol):
    """What the loop asks of a layer's state, wherever it lies."""

    def update(self, x: Activations, signs: plain.Signs, counted: Counted, workers: Workers) -> None:
        """Take in one batch; `signs` are the gate's and in projection's outputs where sign cases are kept."""
        ...

    def rows(self) -> Int64[np.ndarray, "_"]:
        """The rows that the lists refer to, and -1."""
        ...

    def snapshot(self, order: Int64[np.ndarray, "sample"]) -> LayerRecord:
        """The state as the store holds it, the sample in the order of these slots."""
        ...

    def restore(self, record: LayerRecord) -> None:
        """Go back to a snapshot."""
        ...


class LayerState:
    """Lists and statistics of the neurons of one layer, on the CPU."""

    def __init__(self, d_mlp: int, config: CollectConfig, *, cases: bool = False) -> None:
        """An empty state; `cases` keeps the sign cases beside the two ends."""
        self.neurons = None if config.neurons is None else np.array(config.neurons, np.int64)
        self._chosen = None if self.neurons is None else torch.from_numpy(self.neurons)
        n, k, width = len(config.neurons or range(d_mlp)), config.k, config.before + 1 + config.after
        sides, n_cases = (2 + len(CASES), n) if cases else (2, 0)
        self.before, self.cases, self.count, self.sampled = config.before, cases, 0, 0
        self.sample = np.full((config.sample, n), np.nan, np.float32)
        self.kept = Kept(
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

    def update(self, x: Activations, signs: plain.Signs, counted: Counted, workers: Workers) -> None:
        """Take in one batch of activations."""
        from neurolocal.collect.kernels import BLOCK, update

        x = self._own(x)
        values = x if x.dtype is torch.bfloat16 else x.to(torch.float32)
        bits = _bits(values)
        floats = bits.view(np.uint16) if x.dtype is torch.bfloat16 else values.numpy()
        none = np.empty((1, 1, 1), bits.dtype)
        gate, linear = (_bits(self._own(t).to(values.dtype)) for t in signs) if signs is not None else (none, none)
        batch = Rows(counted.runs, counted.n_runs, counted.rows, counted.drawn.histogram)

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
        """The rows that the lists refer to, and -1."""
        return self.kept.row.ravel()

    def snapshot(self, order: Int64[np.ndarray, "sample"]) -> LayerRecord:
        """The state as the store holds it."""
        kept, lists = self.kept, dict[Side, TopK]()
        for i, side in enumerate((*SIDES, *CASES)[: len(kept.row)]):
            unused = kept.row[i] < 0
            window = np.take_along_axis(kept.window[i], kept.slot[i][:, :, None].astype(np.int64), axis=1)
            window[unused] = np.nan
            # Of a sign case the list is by size; the activation itself stands in the middle of its window.
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
        """Go back to a snapshot."""
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
        """The neurons that are kept, as one block of memory."""
        return (x if self._chosen is None else x[:, :, self._chosen]).contiguous()


LEVELS_IN_BITS = {
    "<i4": np.array([0.0, *THRESHOLDS], np.float32).view(np.int32),
    "<i2": (np.array([0.0, *THRESHOLDS], np.float32).view(np.int32) >> 16).astype(np.int16),
}
"""0 and the thresholds as the integers of their bits; a bfloat16 is above a float32 if it is above its first half."""

_STATISTICS = ("whole", "fraction", "minimum", "maximum", "positive", "above", "nonfinite", "histogram")
"""The arrays of `Statistics`, by the same names in a state."""


def _sign(side: Side) -> np.float32:
    """What turns the strengths of a list into activations."""
    return np.float32(-1 if side == "smallest" else 1)


def _bits(x: Tensor) -> np.ndarray:
    """The same memory as signed integers."""
    return x.view(torch.int16 if x.element_size() == 2 else torch.int32).numpy()


class DeviceState:
    """The same as `LayerState` where the activations are: on a GPU nothing leaves it between snapshots."""

    def __init__(
        self, d_mlp: int, config: CollectConfig, *, cases: bool = False, device: torch.device, reduce: plain.Reduce
    ) -> None:
        """An empty state on a device; `reduce` is `plain.reduced`, or the same compiled."""
        self._reduce, self._device = reduce, device
        self._config, self._d_mlp, self._cases = config, d_mlp, cases
        self._load(self._empty())

    def update(self, x: Activations, signs: plain.Signs, counted: Counted, workers: Workers) -> None:
        """Take in one batch of activations."""
        if self._chosen is not None:
            x, signs = x[:, :, self._chosen], signs and (signs[0][:, :, self._chosen], signs[1][:, :, self._chosen])
        mask, rows, drawn, entering, slots = (
            torch.from_numpy(a).to(self._device, non_blocking=True)
            for a in (counted.mask, counted.rows, counted.drawn.histogram, counted.drawn.entering, counted.drawn.slots)
        )
        plain.update(
            self._tensors, x, mask, rows, drawn, signs, before=self._config.before, reduce=self._reduce
        )  # fmt: skip
        self._count += counted.total
        self._sampled += len(counted.drawn.histogram)
        if len(slots):
            self._sample[slots] = x[entering[:, 0], entering[:, 1]].float()

    def rows(self) -> Int64[np.ndarray, "_"]:
        """The rows that the lists refer to, and -1."""
        return self._tensors.row.flatten().cpu().numpy()

    def snapshot(self, order: Int64[np.ndarray, "sample"]) -> LayerRecord:
        """The state as the store holds it."""
        host = self._empty()
        for column in dataclasses.fields(self._tensors):
            getattr(host.kept, column.name)[:] = getattr(self._tensors, column.name).cpu().numpy()
        host.sample[:] = self._sample.cpu().numpy()
        host.count, host.sampled = self._count, self._sampled
        return host.snapshot(order)

    def restore(self, record: LayerRecord) -> None:
        """Go back to a snapshot."""
        host = self._empty()
        host.restore(record)
        self._load(host)

    def _empty(self) -> LayerState:
        return LayerState(self._d_mlp, self._config, cases=self._cases)

    def _load(self, host: LayerState) -> None:
        self._tensors = plain.State(
            **{
                column.name: torch.from_numpy(getattr(host.kept, column.name)).to(self._device, copy=True)
                for column in dataclasses.fields(plain.State)
            }
        )
        self._sample = torch.from_numpy(host.sample).to(self._device, copy=True)
        self._chosen = None if host.neurons is None else torch.from_numpy(host.neurons).to(self._device)
        self._count, self._sampled = host.count, host.sampled
