"""One batch of a layer's activations -> lists, sums and counts, in plain torch, on any device.

The path for a GPU, and the twin that the CPU's kernels are tested against. Invariant: see `kernels`; ties are kept by
stable sorts over what the list holds followed by the batch's rows in order.
Cost: a few passes over the activations and a sort of k + batch entries a neuron; no synchronisation with the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Int32, Int64
from torch import Tensor

from neurolocal.collect.exact import LIMIT, MASK, SCALE


@dataclass
class State:
    """Lists and statistics of the neurons of a layer; entry 0 is `largest`, entry 1 `smallest`."""

    strength: Float32[Tensor, "2 neuron k"]
    row: Int64[Tensor, "2 neuron k"]
    position: Int32[Tensor, "2 neuron k"]
    window: Float32[Tensor, "2 neuron k width"]
    whole: Int64[Tensor, "2 neuron"]
    fraction: Int64[Tensor, "2 neuron"]
    minimum: Float32[Tensor, "neuron"]
    maximum: Float32[Tensor, "neuron"]
    positive: Int64[Tensor, "neuron"]
    nonfinite: Int64[Tensor, "neuron"]
    before: int


def empty(d_mlp: int, k: int, *, before: int, after: int, device: torch.device) -> State:
    """A state that has seen nothing."""

    def full(value: int | float, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.full(shape, value, dtype=dtype, device=device)

    f32, i64, i32 = torch.float32, torch.int64, torch.int32
    return State(
        strength=full(-torch.inf, 2, d_mlp, k, dtype=f32),
        row=full(-1, 2, d_mlp, k, dtype=i64),
        position=full(-1, 2, d_mlp, k, dtype=i32),
        window=full(torch.nan, 2, d_mlp, k, before + 1 + after, dtype=f32),
        whole=full(0, 2, d_mlp, dtype=i64),
        fraction=full(0, 2, d_mlp, dtype=i64),
        minimum=full(torch.inf, d_mlp, dtype=f32),
        maximum=full(-torch.inf, d_mlp, dtype=f32),
        positive=full(0, d_mlp, dtype=i64),
        nonfinite=full(0, d_mlp, dtype=i64),
        before=before,
    )


def update(
    state: State, x: Float[Tensor, "batch pos neuron"], mask: Bool[Tensor, "batch pos"], rows: Int64[Tensor, "batch"]
) -> None:
    """Take one batch into the state, in place; `rows` ascend."""
    x = x.float()
    finite = x.isfinite() & mask[:, :, None]
    state.nonfinite += (mask[:, :, None] & ~x.isfinite()).sum((0, 1))
    state.positive += (finite & (x > 0)).sum((0, 1))
    for side, sign in enumerate((1, -1)):
        strength, at = torch.where(finite, sign * x, -torch.inf).max(dim=1)
        _merge(state, side, x, strength, at, rows)
        if side == 0:
            state.maximum = torch.maximum(state.maximum, strength.amax(0))
        else:
            state.minimum = torch.minimum(state.minimum, -strength.amax(0))
    clean = torch.where(finite, x, 0)
    sums = torch.stack([clean.sum(1), (clean * clean).sum(1)]).double().sum(1)
    _add_exactly(state, sums)


def _merge(
    state: State,
    side: int,
    x: Float32[Tensor, "batch pos neuron"],
    strength: Float32[Tensor, "batch neuron"],
    at: Int64[Tensor, "batch neuron"],
    rows: Int64[Tensor, "batch"],
) -> None:
    k, width = state.strength.shape[2], state.window.shape[3]
    some = -torch.inf < strength.T
    all_strength = torch.cat([state.strength[side], strength.T], dim=1)
    order = all_strength.sort(dim=1, descending=True, stable=True).indices[:, :k]
    new_row = torch.where(some, rows[None].expand_as(some), -1)
    new_position = torch.where(some, at.T, -1).int()
    where = at[:, None, :] - state.before + torch.arange(width, device=x.device)[None, :, None]
    inside = (where >= 0) & (where < x.shape[1]) & (strength > -torch.inf)[:, None]
    cut = torch.where(inside, x.gather(1, where.clamp(0, x.shape[1] - 1)), torch.nan).permute(2, 0, 1)
    state.strength[side] = all_strength.gather(1, order)
    state.row[side] = torch.cat([state.row[side], new_row], dim=1).gather(1, order)
    state.position[side] = torch.cat([state.position[side], new_position], dim=1).gather(1, order)
    windows = torch.cat([state.window[side], cut], dim=1)
    state.window[side] = windows.gather(1, order[:, :, None].expand(-1, -1, width))


def _add_exactly(state: State, sums: Float[Tensor, "2 neuron"]) -> None:
    values = sums.clamp(-LIMIT, LIMIT)
    floor = values.floor()
    fraction = state.fraction + ((values - floor) * 2.0**SCALE).long()
    state.whole += floor.long() + (fraction >> SCALE)
    state.fraction = fraction & MASK
