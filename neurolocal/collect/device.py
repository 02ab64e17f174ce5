"""The state of one layer on a device without Triton's kernels (mps and others): `LayerState` in torch tensors.

Invariant: equal to `LayerState` on the same batches, sums to rounding; between snapshots nothing is copied to the host.
Cost: the same bytes a neuron as `LayerState`, on the device; a snapshot holds one layer on the host as well. A layer
with experts is spread out over all positions, NaN where they were not routed: experts / routed times the activations.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from neurolocal.collect import plain
from neurolocal.collect.state import Activations, CountedBatch, LayerState
from neurolocal.collect.workers import Workers
from neurolocal.config import CollectConfig
from neurolocal.records import Experts, LayerRecord
from neurolocal.subject.routed import Routed


class DeviceState:
    """Lists and statistics of the neurons of one layer, on any torch device."""

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
        self._device, self._experts = device, experts
        self._config, self._d_mlp, self._cases = config, d_mlp, cases
        self._load(self._empty())

    def update(
        self, x: Activations, signs: tuple[Activations, Activations] | None, counted: CountedBatch, workers: Workers
    ) -> None:
        """Add one batch of activations."""
        if isinstance(x, Routed):
            counts = counted.on(self._device).mask.flatten()[x.token]
            self._routed[: x.n_experts].scatter_add_(0, x.expert, counts.long())
            self._routed[x.n_experts :] += counted.total
        every = [t.dense() if isinstance(t, Routed) else t for t in (x, *(signs or ()))]
        self._update(every[0], (every[1], every[2]) if signs is not None else None, counted)

    def _update(self, x: Tensor, signs: plain.Signs, counted: CountedBatch) -> None:
        if self._chosen is not None:
            x, signs = x[:, :, self._chosen], signs and (signs[0][:, :, self._chosen], signs[1][:, :, self._chosen])
        batch = counted.on(self._device)
        plain.update(
            self._tensors,
            x,
            batch.mask,
            batch.rows,
            batch.drawn,
            signs,
            before=self._config.before,
            rank=batch.rank,
            text=batch.text if self._config.dedupe else None,
        )
        self._count += counted.total
        self._sampled += len(counted.drawn.histogram)
        if len(batch.slots):
            self._sample[batch.slots] = x[batch.entering[:, 0], batch.entering[:, 1]].float()

    def rows(self) -> Int64[np.ndarray, "_"]:
        """Row indices that the lists and bands refer to; -1 for unused slots."""
        return torch.cat([self._tensors.row.flatten(), self._tensors.band_row.flatten()]).cpu().numpy()

    def snapshot(self, order: Int64[np.ndarray, "sample"]) -> LayerRecord:
        """The state as the store holds it."""
        host = self._empty()
        for column in dataclasses.fields(self._tensors):
            getattr(host.kept, column.name)[:] = getattr(self._tensors, column.name).cpu().numpy()
        host.sample[:] = self._sample.cpu().numpy()
        host.routed[:] = self._routed.cpu().numpy()
        host.count, host.sampled = self._count, self._sampled
        return host.snapshot(order)

    def frozen(self) -> None:
        """Without streams of its own a device waits for its checkpoints."""
        return

    def restore(self, record: LayerRecord) -> None:
        """Replace the state by a snapshot."""
        host = self._empty()
        host.restore(record)
        self._load(host)

    def _empty(self) -> LayerState:
        return LayerState(self._d_mlp, self._config, cases=self._cases, experts=self._experts)

    def _load(self, host: LayerState) -> None:
        self._tensors = plain.StateTensors(
            **{
                column.name: torch.from_numpy(getattr(host.kept, column.name)).to(self._device, copy=True)
                for column in dataclasses.fields(plain.StateTensors)
            }
        )
        self._sample = torch.from_numpy(host.sample).to(self._device, copy=True)
        self._chosen = None if host.neurons is None else torch.from_numpy(host.neurons).to(self._device)
        self._routed = torch.from_numpy(host.routed).to(self._device, copy=True)
        self._count, self._sampled = host.count, host.sampled
