"""The state of one layer during a run: the lists of every neuron, their windows, and the statistics.

Invariant: `snapshot` then `restore` gives the same state, so an interrupted and resumed run ends in the same bits as an
uninterrupted one. Cost: see "Memory" in FORMAT.md; with k = 20, windows of 61 and a sample of 1,024, 15.2 kB a neuron.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neurolocal.collect import plain
from neurolocal.collect.bands import NO_RANK, bins_of, ranks, slots_of
from neurolocal.collect.routes import RoutedRuns, Routes
from neurolocal.collect.sample import Draw, Sampler
from neurolocal.collect.uploaded import Uploaded, upload
from neurolocal.collect.workers import Workers
from neurolocal.config import CollectConfig
from neurolocal.files import numba_cache
from neurolocal.records import (
    BINS,
    CASES,
    N_BANDS,
    SIDES,
    THRESHOLDS,
    Bands,
    CaseStatistics,
    Experts,
    LayerRecord,
    Side,
    Statistics,
    TopK,
)
from neurolocal.subject.routed import Routed

Activations = Float[Tensor, "batch pos neuron"] | Routed


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
    rank: Int64[np.ndarray, "batch"]
    """`bands.ranks` of the rows."""
    drawn: Draw
    """The positions for the histogram and the sample."""
    text: Int64[np.ndarray, "batch pos"] | None
    """What names the text up to each position; None where lists may hold a text several times."""
    uploads: dict[torch.device, Uploaded]
    """The batch on each device that has asked for it."""

    def on(self, device: torch.device) -> Uploaded:
        """The batch on a device, where it stays for all layers."""
        if device not in self.uploads:
            self.uploads[device] = upload(
                device,
                rows=self.rows,
                rank=self.rank,
                runs=self.runs,
                n_runs=self.n_runs,
                drawn=self.drawn,
                text=_text(self),
                mask=self.mask,
            )
        return self.uploads[device]

    @classmethod
    def of(
        cls,
        rows: Int64[np.ndarray, "batch"],
        mask: Bool[np.ndarray, "batch pos"],
        sampler: Sampler,
        *,
        text: Int64[np.ndarray, "batch pos"] | None = None,
    ) -> CountedBatch:
        """The ranges of a mask; the sampler takes in the batch."""
        edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        n_runs = (edges == 1).sum(axis=1)
        runs = np.zeros((len(mask), max(1, n_runs.max(initial=0)), 2), np.int64)
        for b in range(len(mask)):
            runs[b, : n_runs[b], 0] = np.flatnonzero(edges[b] == 1)
            runs[b, : n_runs[b], 1] = np.flatnonzero(edges[b] == -1)
        rank, drawn = ranks(rows, seed=sampler.seed), sampler.draw(rows, mask)
        return cls(rows, mask, runs, n_runs.astype(np.int64), int(mask.sum()), rank, drawn, text, {})


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
    text: np.ndarray
    """(side, neuron, k) int64: what names the text up to the peak, unused 0; (side, neuron, 0) without `dedupe`."""
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
    band_activation: np.ndarray
    """(neuron, band, entry) float32: in slot i modulo `N_BANDS` those of bin i; `entry` is 0 without bands."""
    band_row: np.ndarray
    """(neuron, band, entry) int64, unused -1."""
    band_position: np.ndarray
    """(neuron, band, entry) int32."""
    band_rank: np.ndarray
    """(neuron, band, entry) int64: `bands.ranks` of the row, ascending; unused `bands.NO_RANK`."""
    band_count: np.ndarray
    """(neuron, band) int64: rows that fell in the bin."""
    band_top: np.ndarray
    """(neuron,) int32: the bin of the largest activation, -1 where none is positive."""


class BatchRuns(NamedTuple):
    """What the compiled kernels receive of a `CountedBatch`."""

    runs: np.ndarray
    """(batch, run, 2) int64: the counted positions of a row as half-open ranges."""
    n_runs: np.ndarray
    """(batch,) int64: how many ranges a row has."""
    rows: np.ndarray
    """(batch,) int64: row indices, ascending."""
    rank: np.ndarray
    """(batch,) int64: `bands.ranks` of the rows."""
    drawn: np.ndarray
    """(n, 2) int64: row within the batch, and position, of each position that the histogram counts."""
    text: np.ndarray
    """(batch, pos) int64: what names the text up to each position; (batch, 0) without `dedupe`."""


class Chunk(NamedTuple):
    """Some neurons of a layer that have activations at the same positions: all, one expert's, or the shared one's."""

    base: int
    """Where its first neuron is among those collected."""
    x: Tensor
    """(batch, pos, neuron), or of an expert (entry, neuron)."""
    signs: tuple[Tensor, Tensor] | None
    """Of the same shape."""
    batch: BatchRuns | RoutedRuns
    entering: np.ndarray
    """The entries, or (n, 2) row and position, that enter the sample."""
    slots: np.ndarray
    """(n,) int64: where in the sample."""


@runtime_checkable
class Frozen(Protocol):
    """What a checkpoint needs of a layer's state."""

    def snapshot(self, order: Int64[np.ndarray, "sample"]) -> LayerRecord:
        """The state as the store holds it; the sample in the order of these slots."""
        ...


@runtime_checkable
class State(Protocol):
    """What the loop needs of a layer's state, on the CPU or on a device."""

    def update(
        self, x: Activations, signs: tuple[Activations, Activations] | None, counted: CountedBatch, workers: Workers
    ) -> None:
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

    def frozen(self) -> Frozen | None:
        """A copy for a checkpoint that is written beside the run.

        None where the run has to wait for its checkpoints.
        """
        ...


class LayerState:
    """Lists and statistics of the neurons of one layer, on the CPU."""

    def __init__(
        self, d_mlp: int, config: CollectConfig, *, cases: bool = False, experts: Experts | None = None
    ) -> None:
        """An empty state; `cases` adds lists and statistics of the four sign cases, `experts` says whose they are."""
        self.neurons = None if config.neurons is None else np.array(config.neurons, np.int64)
        self.experts = experts
        self.routed = np.zeros(0 if experts is None else len(experts.count), np.int64)
        n, k, width = len(config.neurons or range(d_mlp)), config.k, config.before + 1 + config.after
        sides, n_cases = (2 + len(CASES), n) if cases else (2, 0)
        self.before, self.cases, self.count, self.sampled = config.before, cases, 0, 0
        self.seed = config.seed
        self.sample = np.full((config.sample, n), np.nan, np.float32)
        self.kept = StateArrays(
            strength=np.full((sides, n, k), -np.inf, np.float32),
            row=np.full((sides, n, k), -1, np.int64),
            position=np.full((sides, n, k), -1, np.int32),
            slot=np.tile(np.arange(k, dtype=np.int32), (sides, n, 1)),
            window=np.full((sides, n, k, width), np.nan, np.float32),
            text=np.zeros((sides, n, k if config.dedupe else 0), np.int64),
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
            band_activation=np.full((n, N_BANDS, config.bands), np.nan, np.float32),
            band_row=np.full((n, N_BANDS, config.bands), -1, np.int64),
            band_position=np.full((n, N_BANDS, config.bands), -1, np.int32),
            band_rank=np.full((n, N_BANDS, config.bands), NO_RANK, np.int64),
            band_count=np.zeros((n, N_BANDS), np.int64),
            band_top=np.full(n, -1, np.int32),
        )

    def update(
        self, x: Activations, signs: tuple[Activations, Activations] | None, counted: CountedBatch, workers: Workers
    ) -> None:
        """Add one batch of activations."""
        numba_cache()
        from neurolocal.collect.kernels import BLOCK

        self.count += counted.total
        self.sampled += len(counted.drawn.histogram)
        if isinstance(x, Routed):
            self.sample[counted.drawn.slots] = np.nan
            chunks = list(self._chunks(x, signs, counted))

            def work(first: int, last: int) -> None:
                for chunk in chunks[first:last]:
                    self._take(chunk)

            workers.run(work, _shares(chunks, workers.n))
            return
        assert signs is None or (isinstance(signs[0], Tensor) and isinstance(signs[1], Tensor))
        chosen = slice(None) if self.neurons is None else torch.from_numpy(self.neurons)
        whole = self._dense(0, x, signs, chosen, counted)  # pyright: ignore[reportArgumentType]
        n = whole.x.shape[2]
        step = -(-n // (BLOCK * workers.n)) * BLOCK
        arrays = _Arrays.of(whole)
        workers.run(
            lambda first, last: self._run(whole, arrays, first, last),
            [(i, min(i + step, n)) for i in range(0, n, step)],
        )
        self._sample(whole, slice(0, n))

    def _dense(self, base: int, x: Tensor, signs: plain.Signs, chosen: slice | Tensor, counted: CountedBatch) -> Chunk:
        """Neurons that run at every position; `chosen` are the columns that are collected."""
        text = _text(counted)
        batch = BatchRuns(counted.runs, counted.n_runs, counted.rows, counted.rank, counted.drawn.histogram, text)
        own = [t[:, :, chosen].contiguous() for t in (x, *(signs or ()))]
        return Chunk(base, own[0], tuple(own[1:]) or None, batch, counted.drawn.entering, counted.drawn.slots)  # pyright: ignore[reportArgumentType]

    def _chunks(
        self, x: Routed, signs: tuple[Activations, Activations] | None, counted: CountedBatch
    ) -> Iterator[Chunk]:
        """The experts that were routed to, and the shared one, each with its collected neurons."""
        assert self.experts is not None
        tensors = [t for t in (x, *(signs or ())) if isinstance(t, Routed)]
        values = [t.x.contiguous() for t in tensors]
        routes = Routes(x, counted.rows, counted.rank, counted.mask, counted.drawn, _text(counted))
        self.routed[: x.n_experts] += routes.counted
        edges = self.experts.offsets.tolist()
        for e, (low, high) in enumerate(itertools.pairwise(edges)):
            base, stop, chosen = low, high, slice(None)
            if self.neurons is not None:
                base, stop = np.searchsorted(self.neurons, (low, high)).tolist()
                chosen = torch.from_numpy(self.neurons[base:stop] - low)
            if e == x.n_experts:
                self.routed[e] += counted.total
                shared = [t.shared for t in tensors]
                assert all(isinstance(t, Tensor) for t in shared)
                if base < stop:
                    yield self._dense(base, shared[0], tuple(shared[1:]) or None, chosen, counted)  # pyright: ignore[reportArgumentType]
                continue
            self.kept.nonfinite[base:stop] += counted.total - int(routes.counted[e])
            a, b = routes.offsets[e], routes.offsets[e + 1]
            if a == b or base == stop:
                continue
            own = [t[a:b, chosen].contiguous() for t in values]
            yield Chunk(base, own[0], tuple(own[1:]) or None, routes.runs(e), *routes.entering(e))  # pyright: ignore[reportArgumentType]

    def _take(self, chunk: Chunk) -> None:
        n = chunk.x.shape[-1]
        self._run(chunk, _Arrays.of(chunk), 0, n)
        self._sample(chunk, slice(chunk.base, chunk.base + n))

    def _run(self, chunk: Chunk, arrays: _Arrays, first: int, last: int) -> None:
        from neurolocal.collect.kernels import update

        bits = arrays.bits
        update(
            arrays.floats, bits, arrays.gate, arrays.linear, chunk.batch, self.kept, chunk.base, first, last,
            self.before, self.cases, LEVELS_IN_BITS[bits.dtype.str], bits.dtype.type(np.iinfo(bits.dtype).max),
        )  # fmt: skip

    def _sample(self, chunk: Chunk, own: slice) -> None:
        if len(chunk.slots):
            at = torch.from_numpy(chunk.entering)
            found = chunk.x[at] if at.ndim == 1 else chunk.x[at[:, 0], at[:, 1]]
            self.sample[chunk.slots, own] = found.float().numpy()

    def rows(self) -> Int64[np.ndarray, "_"]:
        """Row indices that the lists and bands refer to; -1 for unused slots."""
        return np.concatenate([self.kept.row.ravel(), self.kept.band_row.ravel()])

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
            text = kept.text[i].copy() if kept.text.size else None
            lists[side] = TopK(activation, kept.row[i].copy(), kept.position[i].copy(), window, text)
        columns = {name: getattr(kept, name).copy() for name in _STATISTICS}
        columns["histogram"] = kept.histogram.astype(np.int64)
        cases = (kept.case_count, kept.case_whole, kept.case_fraction)
        return LayerRecord(
            lists,
            Statistics(count=self.count, sampled=self.sampled, **columns),
            np.ascontiguousarray(self.sample[order].T),
            cases=CaseStatistics(*(a.copy() for a in cases)) if self.cases else None,
            neurons=self.neurons,
            experts=self.experts and dataclasses.replace(self.experts, count=self.routed.copy()),
            bands=self._bands(),
        )

    def _bands(self) -> Bands | None:
        """The bands from the maximum downwards; None where none are collected."""
        kept = self.kept
        if not kept.band_row.size:
            return None
        slots = slots_of(kept.band_top)
        found = [
            np.take_along_axis(array, slots[:, :, None], axis=1)
            for array in (kept.band_activation, kept.band_row, kept.band_position)
        ]
        unused = found[1] < 0
        found[0][unused], found[2][unused] = np.nan, -1
        return Bands(*found, count=np.take_along_axis(kept.band_count, slots, axis=1))

    def frozen(self) -> Frozen | None:
        """A checkpoint would take the processor from the forward pass, whenever it is written."""
        return None

    def restore(self, record: LayerRecord) -> None:
        """Replace the state by a snapshot."""
        kept, statistics = self.kept, record.statistics
        for i, (side, top) in enumerate(record.lists.items()):
            strength = np.abs(top.activation) if side in CASES else top.activation * _sign(side)
            kept.strength[i] = np.where(top.row < 0, -np.inf, strength)
            kept.row[i], kept.position[i], kept.window[i] = top.row, top.position, top.window
            kept.slot[i] = np.arange(kept.slot.shape[2])
            if top.text is not None:
                kept.text[i] = top.text
        self.count, self.sampled = statistics.count, statistics.sampled
        for name in _STATISTICS:
            getattr(kept, name)[:] = getattr(statistics, name)
        if record.cases is not None:
            for column in dataclasses.fields(record.cases):
                getattr(kept, f"case_{column.name}")[:] = getattr(record.cases, column.name)
        if (bands := record.bands) is not None:
            kept.band_top[:] = bins_of(statistics.maximum)
            slots = slots_of(kept.band_top)
            np.put_along_axis(kept.band_count, slots, bands.count, axis=1)
            rank = np.where(bands.row < 0, NO_RANK, ranks(bands.row, seed=self.seed))
            for array, value in (
                (kept.band_activation, bands.activation), (kept.band_row, bands.row),
                (kept.band_position, bands.position), (kept.band_rank, rank),
            ):  # fmt: skip
                np.put_along_axis(array, slots[:, :, None], value, axis=1)
        self.sample[: record.sample.shape[1]] = record.sample.T
        if record.experts is not None:
            self.routed[:] = record.experts.count


class _Arrays(NamedTuple):
    """The tensors of a chunk as the kernels take them."""

    floats: np.ndarray
    bits: np.ndarray
    gate: np.ndarray
    linear: np.ndarray

    @classmethod
    def of(cls, chunk: Chunk) -> _Arrays:
        x = chunk.x
        values = x if x.dtype is torch.bfloat16 else x.to(torch.float32)
        bits = _bits(values)
        floats = bits.view(np.uint16) if x.dtype is torch.bfloat16 else values.numpy()
        none = np.empty((1,) * x.ndim, bits.dtype)
        gate, linear = (_bits(t.to(values.dtype)) for t in chunk.signs) if chunk.signs is not None else (none, none)
        return cls(floats, bits, gate, linear)


def _text(counted: CountedBatch) -> Int64[np.ndarray, "batch _"]:
    return np.zeros((len(counted.rows), 0), np.int64) if counted.text is None else counted.text


def _shares(chunks: list[Chunk], n: int) -> list[tuple[int, int]]:
    """Ranges of chunks that take about equally long, one a thread."""
    done = np.cumsum([0, *(chunk.x.numel() for chunk in chunks)])
    cuts = np.searchsorted(done, done[-1] * np.arange(1, n) / n)
    return [(a, b) for a, b in itertools.pairwise([0, *cuts.tolist(), len(chunks)]) if a < b] or [(0, 0)]


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
