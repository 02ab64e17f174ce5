"""The state of one layer during a run: both lists of every neuron, their windows, and the statistics.

Invariant: `snapshot` then `restore` gives the same state, so a run that stops and goes on ends as one that did not.
Cost: neurons x k x (window + 6) x 8 bytes; with k = 20 and windows of 61, 10.7 kB a neuron.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neurolocal.collect import exact, plain
from neurolocal.records import SIDES, Side, Statistics, TopK

Batch = Float[Tensor, "batch pos d_mlp"]


class LayerSnapshot(NamedTuple):
    """What a layer's state says, in the store's own terms."""

    lists: dict[Side, TopK]
    statistics: Statistics


class LayerState:
    """Lists and statistics of the neurons of one layer, on the CPU."""

    def __init__(self, d_mlp: int, k: int, *, before: int, after: int) -> None:
        """An empty state."""
        self.before, width = before, before + 1 + after
        self.strength = np.full((2, d_mlp, k), -np.inf, np.float32)
        self.row = np.full((2, d_mlp, k), -1, np.int64)
        self.position = np.full((2, d_mlp, k), -1, np.int32)
        self.slot = np.tile(np.arange(k, dtype=np.int32), (2, d_mlp, 1))
        self.window = np.full((2, d_mlp, k, width), np.nan, np.float32)
        self.count = 0
        self.whole, self.fraction = np.zeros((2, d_mlp), np.int64), np.zeros((2, d_mlp), np.int64)
        self.minimum, self.maximum = np.full(d_mlp, np.inf, np.float32), np.full(d_mlp, -np.inf, np.float32)
        self.positive, self.nonfinite = np.zeros(d_mlp, np.int64), np.zeros(d_mlp, np.int64)

    def update(self, x: Batch, counted: Counted, rows: Int64[np.ndarray, "batch"], pool: ThreadPoolExecutor) -> None:
        """Take in one batch of activations."""
        from neurolocal.collect.kernels import BLOCK, update

        n_batch, _, d_mlp = x.shape
        x = x.contiguous()
        values = x.view(torch.uint16).numpy() if x.dtype is torch.bfloat16 else x.to(torch.float32).numpy()
        sums = np.empty((2, n_batch, d_mlp), np.float32)

        def work(first: int, last: int) -> None:
            update(
                values, counted.runs, counted.n_runs, rows, first, last,
                self.strength, self.row, self.position, self.slot, self.window, self.before,
                sums[0], sums[1], self.minimum, self.maximum, self.positive, self.nonfinite,
            )  # fmt: skip

        blocks, threads = -(-d_mlp // BLOCK), torch.get_num_threads()
        step = -(-blocks // threads) * BLOCK
        parts = [(low, min(low + step, d_mlp)) for low in range(0, d_mlp, step)]
        others = [pool.submit(work, *part) for part in parts[1:]]
        work(*parts[0])
        for other in others:
            other.result()
        self.count += counted.total
        exact.add(self.whole, self.fraction, sums.sum(axis=1, dtype=np.float64))

    def snapshot(self) -> LayerSnapshot:
        """The state as the store holds it."""
        lists: dict[Side, TopK] = {}
        for i, side in enumerate(SIDES):
            unused = self.row[i] < 0
            activation = np.where(unused, np.float32(np.nan), self.strength[i] if i == 0 else -self.strength[i])
            window = np.take_along_axis(self.window[i], self.slot[i][:, :, None].astype(np.int64), axis=1)
            window[unused] = np.nan
            lists[side] = TopK(activation, self.row[i].copy(), self.position[i].copy(), window)
        return LayerSnapshot(
            lists,
            Statistics(
                self.count, self.whole.copy(), self.fraction.copy(), self.minimum.copy(), self.maximum.copy(),
                self.positive.copy(), self.nonfinite.copy(),
            ),
        )  # fmt: skip

    def restore(self, snapshot: LayerSnapshot) -> None:
        """Go back to a snapshot."""
        for i, side in enumerate(SIDES):
            top = snapshot.lists[side]
            strength = top.activation if i == 0 else -top.activation
            self.strength[i] = np.where(top.row < 0, -np.inf, strength)
            self.row[i], self.position[i], self.window[i] = top.row, top.position, top.window
            self.slot[i] = np.arange(self.slot.shape[2])
        s = snapshot.statistics
        self.count = s.count
        self.whole, self.fraction = s.whole.copy(), s.fraction.copy()
        self.minimum, self.maximum = s.minimum.copy(), s.maximum.copy()
        self.positive, self.nonfinite = s.positive.copy(), s.nonfinite.copy()


class Counted(NamedTuple):
    """Which positions of a batch compete and count."""

    mask: Bool[np.ndarray, "batch pos"]
    runs: Int64[np.ndarray, "batch run 2"]
    """The same as half-open ranges."""
    n_runs: Int64[np.ndarray, "batch"]
    total: int

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "batch pos"]) -> Counted:
        """The ranges of a mask."""
        edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        n_runs = (edges == 1).sum(axis=1)
        runs = np.zeros((len(mask), max(1, n_runs.max(initial=0)), 2), np.int64)
        for b in range(len(mask)):
            runs[b, : n_runs[b], 0] = np.flatnonzero(edges[b] == 1)
            runs[b, : n_runs[b], 1] = np.flatnonzero(edges[b] == -1)
        return cls(mask, runs, n_runs.astype(np.int64), int(mask.sum()))


class DeviceState:
    """The same as `LayerState` where the activations are: on a GPU nothing leaves it between snapshots."""

    def __init__(self, d_mlp: int, k: int, *, before: int, after: int, device: torch.device) -> None:
        """An empty state."""
        self._tensors = plain.empty(d_mlp, k, before=before, after=after, device=device)
        self._restored = LayerState(d_mlp, k, before=before, after=after)
        self.count = 0

    def update(self, x: Batch, counted: Counted, rows: Int64[np.ndarray, "batch"], pool: ThreadPoolExecutor) -> None:
        """Take in one batch of activations."""
        mask = torch.from_numpy(counted.mask).to(x.device)
        plain.update(self._tensors, x, mask, torch.from_numpy(rows).to(x.device))
        self.count += counted.total

    def snapshot(self) -> LayerSnapshot:
        """The state as the store holds it."""
        state, t = self._restored, self._tensors
        state.strength, state.row = t.strength.cpu().numpy(), t.row.cpu().numpy()
        state.position, state.window = t.position.cpu().numpy(), t.window.cpu().numpy()
        state.slot = np.tile(np.arange(state.slot.shape[2], dtype=np.int32), (2, state.slot.shape[1], 1))
        state.whole, state.fraction = t.whole.cpu().numpy(), t.fraction.cpu().numpy()
        state.minimum, state.maximum = t.minimum.cpu().numpy(), t.maximum.cpu().numpy()
        state.positive, state.nonfinite = t.positive.cpu().numpy(), t.nonfinite.cpu().numpy()
        state.count = self.count
        return state.snapshot()

    def restore(self, snapshot: LayerSnapshot) -> None:
        """Go back to a snapshot."""
        state, device = self._restored, self._tensors.strength.device
        state.restore(snapshot)
        self._tensors = plain.State(
            *(
                torch.from_numpy(a).to(device)
                for a in (
                    state.strength, state.row, state.position, state.window, state.whole, state.fraction,
                    state.minimum, state.maximum, state.positive, state.nonfinite,
                )
            ),
            before=self._tensors.before,
        )  # fmt: skip
        self.count = state.count
