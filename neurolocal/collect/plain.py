"""One batch of a layer's activations -> lists, sums and counts, in plain torch, on any device.

The path for devices without Triton (mps and others), and the reference that tests compare both kinds of kernels with.
Invariant: see `kernels`. Ties are resolved by stable sorts: the entries of the list come first, then the batch's rows
in order. `reduced` contains every operation that reads all activations and no other.
Cost: a few passes over the activations and a sort of k + batch entries a neuron; no synchronisation with the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64
from torch import Tensor

from neurolocal.collect.bands import LOWEST_KEY, NO_RANK
from neurolocal.collect.exact import LIMIT, MASK, SCALE
from neurolocal.records import BINS, MOMENT_UNITS, N_BANDS, THRESHOLDS

Signs = tuple[Tensor, Tensor] | None
"""Outputs of the gate and in projections, each (batch, pos, neuron); None where sign cases are not collected."""


@dataclass
class StateTensors:
    """The arrays of `state.StateArrays` as tensors, without `slot`: windows are in the order of their entries."""

    strength: Float32[Tensor, "side neuron k"]
    row: Int64[Tensor, "side neuron k"]
    position: Int32[Tensor, "side neuron k"]
    window: Float32[Tensor, "side neuron k width"]
    text: Int64[Tensor, "side neuron texts"]
    whole: Int64[Tensor, "4 neuron"]
    fraction: Int64[Tensor, "4 neuron"]
    minimum: Float32[Tensor, "neuron"]
    maximum: Float32[Tensor, "neuron"]
    positive: Int64[Tensor, "neuron"]
    above: Int64[Tensor, "threshold neuron"]
    nonfinite: Int64[Tensor, "neuron"]
    histogram: Int32[Tensor, "neuron bin"]
    case_count: Int64[Tensor, "4 case_neuron"]
    case_whole: Int64[Tensor, "4 case_neuron"]
    case_fraction: Int64[Tensor, "4 case_neuron"]
    band_activation: Float32[Tensor, "neuron band entry"]
    band_row: Int64[Tensor, "neuron band entry"]
    band_position: Int32[Tensor, "neuron band entry"]
    band_rank: Int64[Tensor, "neuron band entry"]
    band_count: Int64[Tensor, "neuron band"]
    band_top: Int32[Tensor, "neuron"]


class Reduction(NamedTuple):
    """What a batch contributes, before it is merged into the state."""

    strength: Float32[Tensor, "side batch neuron"]
    """The strongest activation of each row and side, as a strength; -inf where no position competes."""
    at: Int64[Tensor, "side batch neuron"]
    """Its position; of equal ones the first."""
    sums: Float32[Tensor, "4 batch neuron"]
    """Sums of powers 1 to 4 over each row."""
    positive: Int64[Tensor, "neuron"]
    above: Int64[Tensor, "threshold neuron"]
    nonfinite: Int64[Tensor, "neuron"]
    case_count: Int64[Tensor, "4 case_neuron"]
    case_sums: Float32[Tensor, "4 batch case_neuron"]


def reduced(x: Float[Tensor, "batch pos neuron"], mask: Bool[Tensor, "batch pos"], signs: Signs) -> Reduction:
    """The part of an update that reads every activation of a batch."""
    x = x.float()
    finite = x.isfinite() & mask[:, :, None]
    sides = [torch.where(finite, x, -torch.inf).max(dim=1), torch.where(finite, -x, -torch.inf).max(dim=1)]
    clean = torch.where(finite, x, 0)
    squares = clean * clean
    case_count, case_sums = [], []
    if signs is not None:
        case = 2 * signs[0].signbit().byte() + signs[1].signbit().byte()
        for number in range(4):
            here = finite & (case == number)
            sides.append(torch.where(here, x.abs(), -torch.inf).max(dim=1))
            case_count.append(here.sum((0, 1)))
            case_sums.append(torch.where(here, x, 0).sum(1))
    none = x.new_zeros((4, len(x), 0))
    return Reduction(
        strength=torch.stack([strength for strength, _ in sides]),
        at=torch.stack([at for _, at in sides]),
        sums=torch.stack([clean.sum(1), squares.sum(1), (squares * clean).sum(1), (squares * squares).sum(1)]),
        positive=(clean > 0).sum((0, 1)),
        above=torch.stack([(clean > level).sum((0, 1)) for level in THRESHOLDS]),
        nonfinite=(mask[:, :, None] & ~finite).sum((0, 1)),
        case_count=torch.stack(case_count) if case_count else none[:, 0].long(),
        case_sums=torch.stack(case_sums) if case_sums else none,
    )


def update(
    state: StateTensors,
    x: Float[Tensor, "batch pos neuron"],
    mask: Bool[Tensor, "batch pos"],
    rows: Int64[Tensor, "batch"],
    drawn: Int64[Tensor, "drawn 2"],
    signs: Signs = None,
    *,
    before: int,
    rank: Int64[Tensor, "batch"],
    text: Int64[Tensor, "batch pos"] | None = None,
) -> None:
    """Add one batch to the state, in place.

    Args:
        state: of the layer.
        x: activations.
        mask: counted positions.
        rows: row indices, ascending.
        drawn: row within the batch, and position, of each position that the histogram counts.
        signs: see `Signs`.
        before: positions of a window before its peak.
        rank: `bands.ranks` of the rows.
        text: what names the text up to each position, where lists keep each text once.
    """
    found = reduced(x, mask, signs)
    state.nonfinite += found.nonfinite
    state.positive += found.positive
    state.above += found.above
    state.maximum = torch.maximum(state.maximum, found.strength[0].amax(0))
    state.minimum = torch.minimum(state.minimum, -found.strength[1].amax(0))
    for side in range(len(found.strength)):
        _merge(state, side, x, found.strength[side], found.at[side], rows, before, text)
    if state.band_rank.shape[2]:
        _add_bands(state, found.strength[0], found.at[0], rows, rank)
    units = torch.tensor([2.0**-unit for unit in MOMENT_UNITS], dtype=torch.float64, device=x.device)
    _add_exactly(state.whole, state.fraction, found.sums.double().sum(1) * units[:, None])
    if signs is not None:
        state.case_count += found.case_count
        _add_exactly(state.case_whole, state.case_fraction, found.case_sums.double().sum(1))
    _draw(state.histogram, x[drawn[:, 0], drawn[:, 1]].float())


def _merge(
    state: StateTensors,
    side: int,
    x: Float[Tensor, "batch pos neuron"],
    strength: Float32[Tensor, "batch neuron"],
    at: Int64[Tensor, "batch neuron"],
    rows: Int64[Tensor, "batch"],
    before: int,
    text: Int64[Tensor, "batch pos"] | None,
) -> None:
    """The k strongest of a list and a batch's rows; of the same text the strongest, where lists keep it once."""
    k, width = state.window.shape[2:]
    both = torch.cat([state.strength[side], strength.T], dim=1)
    texts = state.text[side]
    if text is not None:
        texts = torch.cat([state.text[side], text[torch.arange(len(at), device=at.device)[:, None], at].T], dim=1)
        both = torch.where(_repeated(both, texts), -torch.inf, both)
    order = both.sort(dim=1, descending=True, stable=True).indices[:, :k]
    state.strength[side] = both.gather(1, order)
    new = (order >= k) & (state.strength[side] > -torch.inf)
    batch = (order - k).clamp(min=0)
    neuron = torch.arange(x.shape[2], device=x.device)[:, None]
    place = at[batch, neuron]
    old = order.clamp(max=k - 1)
    state.row[side] = torch.where(new, rows[batch], state.row[side].gather(1, old))
    state.position[side] = torch.where(new, place.int(), state.position[side].gather(1, old))
    where = place[:, :, None] - before + torch.arange(width, device=x.device)
    inside = (where >= 0) & (where < x.shape[1])
    # Where nothing enters, every window reads the entry (0, 0, neuron): cheap, and it needs no synchronisation.
    source = torch.where(new[:, :, None] & inside, where, 0)
    cut = x[torch.where(new, batch, 0)[:, :, None], source, neuron[:, :, None]].float()
    cut = torch.where(inside, cut, torch.nan)
    kept = state.window[side].gather(1, old[:, :, None].expand(-1, -1, width))
    state.window[side] = torch.where(new[:, :, None], cut, kept)
    if text is not None:
        gone = state.strength[side] == -torch.inf
        state.text[side] = torch.where(gone, 0, texts.gather(1, order))
        state.row[side].masked_fill_(gone, -1)
        state.position[side].masked_fill_(gone, -1)
        state.window[side].masked_fill_(gone[:, :, None], torch.nan)


def _add_bands(
    state: StateTensors,
    strength: Float32[Tensor, "batch neuron"],
    at: Int64[Tensor, "batch neuron"],
    rows: Int64[Tensor, "batch"],
    rank: Int64[Tensor, "batch"],
) -> None:
    """Count a batch's rows in the bands, slot by slot, and keep the lowest ranks of what was there and the batch."""
    entries = state.band_rank.shape[2]
    key = ((strength.contiguous().view(torch.int32) >> 22) - LOWEST_KEY).clamp(0, BINS // 2 - 1)
    key = torch.where(strength > 0, key, -1)
    top = torch.maximum(state.band_top, key.amax(0))
    for slot in range(N_BANDS):
        was, now = (high - (high - slot) % N_BANDS for high in (state.band_top, top))  # the bin in this slot
        stays = (was == now) & (state.band_top >= 0)
        mine = (key == now) & (key >= 0)
        state.band_count[:, slot] = torch.where(stays, state.band_count[:, slot], 0) + mine.sum(0)
        old = torch.where(stays[:, None], state.band_rank[:, slot], NO_RANK)
        both = torch.cat([old, torch.where(mine, rank[:, None], NO_RANK).T], dim=1)
        best = both.argsort(dim=1, stable=True)[:, :entries]
        state.band_rank[:, slot] = both.gather(1, best)
        unused = state.band_rank[:, slot] == NO_RANK
        for array, new, none in (
            (state.band_activation, strength.T, torch.nan), (state.band_position, at.T.int(), -1),
            (state.band_row, rows.expand(len(key.T), -1), -1),
        ):  # fmt: skip
            chosen = torch.cat([array[:, slot], new], dim=1).gather(1, best)
            array[:, slot] = torch.where(unused, none, chosen)
    state.band_top = top


def _repeated(
    strength: Float32[Tensor, "neuron entry"], text: Int64[Tensor, "neuron entry"]
) -> Bool[Tensor, "neuron entry"]:
    """Whether another entry of the same text comes before, in the order of the list."""
    order = strength.sort(dim=1, descending=True, stable=True).indices
    by_text = text.gather(1, order).sort(dim=1, stable=True)
    same = torch.zeros_like(by_text.values, dtype=torch.bool)
    same[:, 1:] = by_text.values[:, 1:] == by_text.values[:, :-1]
    return torch.zeros_like(same).scatter_(1, order.gather(1, by_text.indices), same)


def _add_exactly(
    whole: Int64[Tensor, "sum neuron"], fraction: Int64[Tensor, "sum neuron"], sums: Float64[Tensor, "sum neuron"]
) -> None:
    values = sums.nan_to_num(0.0).clamp(-LIMIT, LIMIT)
    floor = values.floor()
    more = fraction + ((values - floor) * 2.0**SCALE).long()
    whole += floor.long() + (more >> SCALE)
    fraction.copy_(more & MASK)


def _draw(histogram: Int32[Tensor, "neuron bin"], x: Float32[Tensor, "drawn neuron"]) -> None:
    """Count the drawn positions in the bins of `records.histogram_edges`."""
    bits = x.contiguous().view(torch.int32)
    size = bits & 0x7FFFFFFF
    i = ((size >> 22) - LOWEST_KEY).clamp(0, BINS // 2 - 1)
    bin_ = torch.where((bits < 0) & (size > 0), BINS // 2 - 1 - i, BINS // 2 + i).long()
    histogram.scatter_add_(1, bin_.T, x.isfinite().T.int())
