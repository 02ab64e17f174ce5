"""The state of one layer on a GPU, updated by the kernels of `triton_kernels`: four launches a batch.

Invariant: equal to `LayerState` on the same batches, sums to rounding. Between snapshots nothing is copied to the host
and nothing waits for the device. Windows and the sample keep the activations' own dtype on the device, which loses
nothing: bfloat16 takes half of the memory.
Cost: `memory.device_bytes` a neuron; a snapshot holds one layer on the host as well.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from neurolocal.collect.exact import LIMIT, SCALE
from neurolocal.collect.state import Activations, CountedBatch, LayerState
from neurolocal.collect.workers import Workers
from neurolocal.config import CollectConfig
from neurolocal.records import BINS, MOMENT_UNITS, N_BANDS, THRESHOLDS, Experts, LayerRecord
from neurolocal.subject.routed import Routed

TILE = (8, 128)
"""Positions and neurons that `scan` holds at a time; more of them spill registers."""

CASE_TILE = (4, 128)
"""The same with sign cases, which hold twice as much."""

BAND_BLOCK = 32
"""Neurons a program of `bands`."""

DRAWN = 64
"""Drawn positions a program of `draw`."""


def has_kernels(device: torch.device) -> bool:
    """Whether Triton's kernels run on a device: CUDA and ROCm with the package that torch's builds bring."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


COPIED = (
    *("strength", "row", "position", "text", "window", "maximum", "minimum", "whole", "fraction", "counts"),
    *("histogram", "case_count", "case_whole", "case_fraction", "sample", "routed"),
    *("band_activation", "band_row", "band_position", "band_rank", "band_count", "band_top"),
)
"""The tensors of a state."""


class FrozenState:
    """A copy of a state in the host's memory, from which a checkpoint is written while the run goes on."""

    def __init__(
        self,
        empty: Callable[[], LayerState],
        tensors: Mapping[str, Tensor],
        copied: Any,
        *,
        count: int,
        sampled: int,
    ) -> None:
        """A copy that is there once the event `copied` has happened; None where it is there."""
        self._empty, self._tensors, self._copied = empty, tensors, copied
        self._count, self._sampled = count, sampled

    def snapshot(self, order: Int64[np.ndarray, "sample"]) -> LayerRecord:
        """The state as the store holds it: lists sorted, strongest first."""
        if self._copied is not None:
            self._copied.synchronize()
        host, found = self._empty(), self._tensors
        kept = host.kept
        strength, row, position = (found[name].numpy() for name in ("strength", "row", "position"))
        best = np.lexsort((position, row, -strength), axis=2)
        for name in ("strength", "row", "position", *(["text"] if kept.text.size else [])):
            getattr(kept, name)[:] = np.take_along_axis(found[name].numpy(), best, axis=2)
        kept.window[:] = np.take_along_axis(found["window"].float().numpy(), best[:, :, :, None], axis=2)
        best = np.argsort(found["band_rank"].numpy(), axis=2, kind="stable")
        for name in ("activation", "row", "position", "rank"):
            getattr(kept, f"band_{name}")[:] = np.take_along_axis(found[f"band_{name}"].numpy(), best, axis=2)
        kept.band_count[:], kept.band_top[:] = found["band_count"].numpy(), found["band_top"].numpy()
        counts = found["counts"].numpy()
        kept.positive[:], kept.above[:], kept.nonfinite[:] = counts[0], counts[1:-1], counts[-1]
        kept.histogram[:] = found["histogram"].T.numpy()
        for name in ("whole", "fraction", "maximum", "minimum", "case_count", "case_whole", "case_fraction"):
            getattr(kept, name)[:] = found[name].numpy()
        host.sample[:] = found["sample"].float().numpy()
        host.routed[:] = found["routed"].numpy()
        host.count, host.sampled = self._count, self._sampled
        return host.snapshot(order)


class TritonState:
    """Lists and statistics of the neurons of one layer, on a GPU."""

    def __init__(
        self,
        d_mlp: int,
        config: CollectConfig,
        *,
        cases: bool = False,
        experts: Experts | None = None,
        device: torch.device,
    ) -> None:
        """An empty state on a device."""
        self._config, self._d_mlp, self._cases = config, d_mlp, cases
        self._device, self._experts = device, experts
        self._dtype: torch.dtype | None = None
        self._load(self._empty())

    def update(
        self, x: Activations, signs: tuple[Activations, Activations] | None, counted: CountedBatch, workers: Workers
    ) -> None:
        """Add one batch of activations."""
        batch = counted.on(self._device)
        if isinstance(x, Routed):
            counts = batch.mask.flatten()[x.token]
            self._routed[: x.n_experts].scatter_add_(0, x.expert, counts.long())
            self._routed[x.n_experts :] += counted.total
        every = [self._dense(t) for t in (x, *(signs or ()))]
        self._fit(every[0].dtype)
        with on_device(self._device):
            self._launch(every, counted)
        self._count += counted.total
        self._sampled += len(counted.drawn.histogram)

    def _dense(self, x: Activations) -> Tensor:
        """All collected neurons at all positions, neurons next to one another."""
        x = x.dense() if isinstance(x, Routed) else x
        x = x if self._chosen is None else x[:, :, self._chosen]
        return x if x.stride(2) == 1 else x.contiguous()

    def _launch(self, every: list[Tensor], counted: CountedBatch) -> None:
        from neurolocal.collect import triton_kernels

        kernels: Any = triton_kernels  # launched by `kernel[grid](...)`, which no type describes
        batch, x = counted.on(self._device), every[0]
        gate, linear = every[1:] if len(every) > 1 else (x, x)
        (n_rows, n_pos, n), (sides, _, k, width) = x.shape, self._window.shape
        strength = torch.empty((sides, n_rows, n), device=self._device)
        at = torch.empty((sides, n_rows, n), dtype=torch.int32, device=self._device)
        sums = torch.empty((4, n_rows, n), device=self._device)
        case_sums = torch.empty((4, n_rows, n) if self._cases else (0,), device=self._device)
        tile = CASE_TILE if self._cases else TILE
        kernels.scan[-(-n // tile[1]), n_rows](
            x, gate, linear, batch.runs, batch.n_runs, strength, at, sums, self._counts, case_sums, self._case_count,
            n_rows, n, batch.runs.shape[1], *x.stride()[:2], *gate.stride()[:2], *linear.stride()[:2],
            *THRESHOLDS, CASES=self._cases, BP=tile[0], BN=tile[1], num_warps=4,
        )  # fmt: skip
        slots = _power(k)
        block = merge_block(slots, dedupe=self._config.dedupe)
        kernels.merge[-(-n // block), sides](
            x, batch.rows, batch.text, strength, at, sums, case_sums,
            self._strength, self._row, self._position, self._text, self._window, self._maximum, self._minimum,
            self._whole, self._fraction, self._case_whole, self._case_fraction,
            n_rows, n_pos, n, *x.stride()[:2], self._config.before, width, k,
            FOURTH=2.0 ** -MOMENT_UNITS[3], LIMIT=LIMIT, SCALE=SCALE, DEDUPE=self._config.dedupe,
            BM=block, BB=min(_power(n_rows), 32), K=slots, WP=min(_power(width), 64), num_warps=1,
        )  # fmt: skip
        if entries := self._config.bands:
            kernels.bands[(-(-n // BAND_BLOCK),)](
                strength, at, batch.rows, batch.rank, self._band_activation, self._band_row, self._band_position,
                self._band_rank, self._band_count, self._band_top, n_rows, n, entries,
                N_BANDS=N_BANDS, HALF=BINS // 2, BM=BAND_BLOCK, E=_power(entries), num_warps=1,
            )  # fmt: skip
        n_drawn, n_entering = len(batch.drawn), len(batch.slots)
        if pieces := -(-max(n_drawn, n_entering) // DRAWN):
            kernels.draw[-(-n // 128), pieces](
                x, batch.drawn, batch.entering, batch.slots, self._histogram, self._sample, n_drawn, n_entering, n,
                *x.stride()[:2], BINS=BINS, BD=DRAWN, BN=128, num_warps=4,
            )  # fmt: skip

    def rows(self) -> Int64[np.ndarray, "_"]:
        """Row indices that the lists and bands refer to; -1 for unused slots."""
        return torch.cat([self._row.flatten(), self._band_row.flatten()]).cpu().numpy()

    def snapshot(self, order: Int64[np.ndarray, "sample"]) -> LayerRecord:
        """The state as the store holds it: lists sorted, strongest first."""
        return self.frozen().snapshot(order)

    def frozen(self) -> FrozenState:
        """The state now, on its way to pinned memory; the device goes on when the copy is done."""
        return FrozenState(
            self._empty,
            {name: _to_host(getattr(self, f"_{name}")) for name in COPIED},
            torch.cuda.current_stream(self._device).record_event() if self._device.type == "cuda" else None,
            count=self._count,
            sampled=self._sampled,
        )

    def restore(self, record: LayerRecord) -> None:
        """Replace the state by a snapshot."""
        host = self._empty()
        host.restore(record)
        self._dtype = None
        self._load(host)

    def _empty(self) -> LayerState:
        return LayerState(self._d_mlp, self._config, cases=self._cases, experts=self._experts)

    def _load(self, host: LayerState) -> None:
        """Copy a state from the host; its windows are in the order of their entries, as in an empty or restored one."""

        def there(a: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(a)).to(self._device, copy=True)

        kept = host.kept
        self._strength, self._row, self._position = there(kept.strength), there(kept.row), there(kept.position)
        self._text, self._window = there(kept.text), there(kept.window)
        self._maximum, self._minimum = there(kept.maximum), there(kept.minimum)
        self._whole, self._fraction = there(kept.whole), there(kept.fraction)
        self._counts = there(np.concatenate([kept.positive[None], kept.above, kept.nonfinite[None]]))
        self._histogram = there(kept.histogram.T)
        self._case_count, self._case_whole = there(kept.case_count), there(kept.case_whole)
        self._case_fraction = there(kept.case_fraction)
        self._band_activation, self._band_row = there(kept.band_activation), there(kept.band_row)
        self._band_position, self._band_rank = there(kept.band_position), there(kept.band_rank)
        self._band_count, self._band_top = there(kept.band_count), there(kept.band_top)
        self._sample, self._routed = there(host.sample), there(host.routed)
        self._chosen = None if host.neurons is None else there(host.neurons)
        self._count, self._sampled = host.count, host.sampled

    def _fit(self, dtype: torch.dtype) -> None:
        """Hold windows and sample in the dtype of the activations; in float32 where these change it."""
        if dtype == self._dtype:
            return
        self._dtype = dtype if self._dtype is None else torch.float32
        self._window, self._sample = self._window.to(self._dtype), self._sample.to(self._dtype)


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """A block whose kernels run on a device: Triton launches on the current one, wherever the tensors are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def merge_block(slots: int, *, dedupe: bool) -> int:
    """Neurons a program of `merge`: lists of 32 entries of 8 neurons fill a warp's registers, with texts those of 4."""
    return max(1, min(4 if dedupe else 8, 256 // slots))


def _to_host(tensor: Tensor) -> Tensor:
    """A copy in pinned memory, which the host does not wait for."""
    if tensor.device.type != "cuda":
        return tensor.to("cpu", copy=True)
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)


def _power(n: int) -> int:
    """The lowest power of 2 that is not below n."""
    return 1 << max(n - 1, 0).bit_length()
