"""The activations of a layer with experts: of each expert, at the positions that were routed to it and no others.

A neuron of such a layer is expert x d_expert + index; the neurons of an expert that always runs (a shared expert) come
last. Invariant: the entries of an expert ascend by row of the batch, then position; a position is at most once with
an expert. Cost: nothing is copied but by `to`, `dense`, `at` and `columns`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Routed:
    """One batch's activations of a layer with experts at one site."""

    x: Float[Tensor, "entry d_expert"]
    """Expert after expert."""
    token: Int64[Tensor, "entry"]
    """Where each entry is in the flattened (batch, pos)."""
    expert: Int64[Tensor, "entry"]
    """The expert of each."""
    offsets: Int64[Tensor, "_"]
    """The entries of expert e are `offsets[e]` to `offsets[e + 1]`."""
    shape: tuple[int, int]
    """(batch, pos)."""
    shared: Float[Tensor, "batch pos d_shared"] | None = None
    """Of the expert that runs at every position."""

    @property
    def n_experts(self) -> int:
        """Experts that are routed to."""
        return len(self.offsets) - 1

    @property
    def width(self) -> int:
        """Neurons of the layer."""
        return self.n_experts * self.x.shape[1] + (0 if self.shared is None else self.shared.shape[2])

    def to(self, device: torch.device) -> Routed:
        """The same on another device; itself where it is there."""
        if self.x.device == device:
            return self
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return dataclasses.replace(self, **moved)

    def dense(self, fill: float = float("nan")) -> Float[Tensor, "batch pos d_mlp"]:
        """All neurons at all positions; `fill` where a position was not routed to the neuron's expert."""
        n, d = self.shape[0] * self.shape[1], self.x.shape[1]
        out = self.x.new_full((n * self.n_experts, d), fill)
        out[self.token * self.n_experts + self.expert] = self.x
        wide = out.view(*self.shape, self.n_experts * d)
        return wide if self.shared is None else torch.cat([wide, self.shared], dim=2)

    def at(self, token: Int64[Tensor, "n"], neuron: Int64[Tensor, "n"], fill: float = 0.0) -> Float[Tensor, "n"]:
        """Single activations; `fill` where the position was not routed to the neuron's expert.

        Args:
            token: places in the flattened (batch, pos).
            neuron: indices within the layer.
            fill: 0 by default, since an expert that is not asked adds nothing.
        """
        d = self.x.shape[1]
        entry, own = self._entries(token, neuron)
        found = own & (entry >= 0)
        out = self.x.new_full(token.shape, fill)
        out[found] = self.x[entry[found], neuron[found] % d]
        if self.shared is not None:
            out[~own] = self.shared.flatten(0, 1)[token[~own], neuron[~own] - self.n_experts * d]
        return out

    def has(self, token: Int64[Tensor, "n"], neuron: Int64[Tensor, "n"]) -> Bool[Tensor, "n"]:
        """Whether positions were routed to the experts of neurons."""
        entry, own = self._entries(token, neuron)
        return ~own | (entry >= 0)

    def _entries(
        self, token: Int64[Tensor, "n"], neuron: Int64[Tensor, "n"]
    ) -> tuple[Int64[Tensor, "n"], Bool[Tensor, "n"]]:
        """The entry of each, -1 where there is none, and whether the neuron is one of an expert that is routed to."""
        n, d = self.shape[0] * self.shape[1], self.x.shape[1]
        where = torch.full((n * self.n_experts,), -1, device=self.x.device)
        where[self.token * self.n_experts + self.expert] = torch.arange(len(self.token), device=self.x.device)
        own = neuron < self.n_experts * d
        return where[token * self.n_experts + torch.where(own, neuron // d, 0)], own

    def columns(self, neurons: Sequence[int], fill: float = float("nan")) -> Float[Tensor, "batch pos neuron"]:
        """Some neurons at all positions."""
        n, chosen = self.shape[0] * self.shape[1], torch.tensor(neurons, dtype=torch.long, device=self.x.device)
        token = torch.arange(n, device=self.x.device)
        pairs = token.repeat_interleave(len(chosen)), chosen.repeat(n)
        return self.at(*pairs, fill=fill).view(*self.shape, len(chosen))


Activations = Tensor | Routed
"""What a reader receives of one site: (batch, pos, d_mlp), or of a layer with experts the routed entries."""
