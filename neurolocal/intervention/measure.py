"""Change the activations of some neurons of a layer, and compare the next token's distribution with the unchanged one.

Invariant: every change is made by itself; the result does not depend on which neurons share a pass, but for rounding.
Cost: each row with an own example once, `places` random rows once a layer, and (changes + controls) tokens a place in
the layers above. Memory: two vocabularies of float32 a neuron, SUMS bytes of neurons at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor

from neurolocal.config import InterventionConfig
from neurolocal.intervention.measured import Measured
from neurolocal.intervention.places import OWN, RANDOM, Jobs, Place, Target, changes, jobs, values
from neurolocal.subject.changed import ChangedRow, Changes

SUMS = 1 << 30
"""Bytes of sums over the vocabulary."""


class Effects(NamedTuple):
    """Mean changes of log-probability over a vocabulary, of some neurons."""

    zero: Float[Tensor, "neuron vocab"]
    """By `zero` at own examples."""
    steered: Float[Tensor, "neuron vocab"]
    """By the largest multiple at random positions."""


def measure(
    tested: Sequence[Target],
    random: Sequence[Place],
    controls: Int64[np.ndarray, "neuron control"],
    run: Callable[[Integer[np.ndarray, "pos"]], ChangedRow],
    rows: Callable[[int], Integer[np.ndarray, "pos"]],
    config: InterventionConfig,
    *,
    d_vocab: int,
    take: Callable[[slice, Effects], None],
    ran: dict[int, ChangedRow] | None = None,
) -> Measured:
    """All changes of the tested neurons.

    Args:
        tested: the neurons.
        random: positions, the same for all.
        controls: of each neuron, random ones of its layer.
        run: token ids -> a row ready for changes.
        rows: row index -> token ids.
        config: the changes.
        d_vocab: size of the vocabulary.
        take: receives the mean changes of log-probability of some of the neurons at a time.
        ran: the rows of `random` that already ran; those that run now are added.
    """
    names = changes(config.multiples)
    n, most = len(tested), max([len(random), *(len(t.own) for t in tested)], default=0)
    found = Measured(
        *(np.full((2, n, most, len(names)), np.nan) for _ in range(2)),
        *(np.full((2, n, most, controls.shape[1]), np.nan) for _ in range(2)),
    )
    at_a_time = max(1, SUMS // (8 * d_vocab))
    ran = {} if ran is None else ran
    for begin in range(0, n, at_a_time):
        group = slice(begin, min(begin + at_a_time, n))
        sums = _Sums(group, d_vocab, n_changes=len(names))
        for text, slots_of in ((OWN, _own(tested, group)), (RANDOM, _random(random, group))):
            for index, slots in slots_of.items():
                tokens = rows(index)
                if text == OWN:
                    row = run(tokens[: max(p for _, _, p in slots) + 1])
                else:
                    row = ran[index] if index in ran else ran.setdefault(index, run(tokens))
                these = jobs(slots, tested, controls, text=text, n_changes=len(names))
                _run(row, tokens, these, text, tested, config, found, sums)
        take(group, sums.means(tested, len(random)))
    return found


def _own(tested: Sequence[Target], group: slice) -> Mapping[int, list[tuple[int, int, int]]]:
    """Row -> (neuron, place, position) of the peaks in it."""
    by_row: dict[int, list[tuple[int, int, int]]] = {}
    for slot in range(group.start, group.stop):
        for i, place in enumerate(tested[slot].own):
            by_row.setdefault(place.row, []).append((slot, i, place.position))
    return dict(sorted(by_row.items()))


def _random(random: Sequence[Place], group: slice) -> Mapping[int, list[tuple[int, int, int]]]:
    """Row -> (neuron, place, position) of every neuron at the random places in it."""
    by_row: dict[int, list[tuple[int, int, int]]] = {}
    for i, place in enumerate(random):
        by_row.setdefault(place.row, []).extend((slot, i, place.position) for slot in range(group.start, group.stop))
    return by_row


def _run(
    row: ChangedRow, tokens: Integer[np.ndarray, "pos"], these: Jobs, text: int, tested: Sequence[Target],
    config: InterventionConfig, found: Measured, sums: _Sums,
) -> None:  # fmt: skip
    """The changes in one row."""
    own = np.array([tested[slot].neuron for slot in these.slot.tolist()], np.int64)
    x = row.activations
    place = torch.from_numpy(these.position).to(x.device)
    there = torch.stack([x[place, torch.from_numpy(i).to(x.device)].float() for i in (own, these.neuron)], 1)
    set_to = values(these, tested, config.multiples, there.cpu().numpy())
    positions, of = np.unique(these.position, return_inverse=True)
    n = len(positions)
    change = Changes(
        np.concatenate([positions, these.position]),
        np.concatenate([np.full(n, -1, np.int64), these.neuron]),
        np.concatenate([np.zeros(n, np.float32), set_to]),
    )
    following = np.append(tokens, -1)[positions + 1].astype(np.int64)
    base: list[Tensor] = []
    for chosen, log_probs in row.log_probs(change):
        first = max(0, n - chosen.start)
        base += log_probs[:first].unbind()
        part = slice(max(chosen.start - n, 0), chosen.stop - n)
        if part.stop <= part.start:
            continue
        unchanged = torch.stack([base[i] for i in of[part].tolist()])
        difference = log_probs[first:] - unchanged
        kl = -(unchanged.exp() * difference).sum(-1)
        next_token = torch.from_numpy(following[of[part]]).to(difference.device)
        loss = -difference.gather(1, next_token.clamp(min=0)[:, None])[:, 0]
        loss[next_token < 0] = float("nan")
        some = Jobs(*(column[part] for column in these))
        _keep(found, text, some, kl.cpu().numpy(), loss.cpu().numpy())
        sums.add(text, some, difference)


def _keep(
    found: Measured, text: int, these: Jobs, kl: Float[np.ndarray, "job"], loss: Float[np.ndarray, "job"]
) -> None:
    own = these.control < 0
    for into, values_, which, last in (
        (found.kl, kl, own, these.change), (found.loss, loss, own, these.change),
        (found.control_kl, kl, ~own, these.control), (found.control_loss, loss, ~own, these.control),
    ):  # fmt: skip
        into[text, these.slot[which], these.place[which], last[which]] = values_[which]


class _Sums:
    """Changes of log-probability of some neurons, summed over places."""

    def __init__(self, group: slice, d_vocab: int, *, n_changes: int) -> None:
        self.group, self.last = group, n_changes - 1
        self.d_vocab = d_vocab
        self.sums: Tensor | None = None

    def add(self, text: int, these: Jobs, difference: Float[Tensor, "job vocab"]) -> None:
        """Add the change that `Effects` names of each text."""
        if self.sums is None:
            n = self.group.stop - self.group.start
            self.sums = torch.zeros((2, n, difference.shape[-1]), device=difference.device)
        which: Bool[np.ndarray, "job"] = (these.control < 0) & (these.change == (0 if text == OWN else self.last))
        if which.any():
            slot = torch.from_numpy(these.slot[which] - self.group.start).to(difference.device)
            self.sums[text].index_add_(0, slot, difference[torch.from_numpy(np.flatnonzero(which)).to(slot.device)])

    def means(self, tested: Sequence[Target], n_random: int) -> Effects:
        n = self.group.stop - self.group.start
        sums = torch.zeros((2, n, self.d_vocab)) if self.sums is None else self.sums
        number = torch.tensor([max(1, len(t.own)) for t in tested[self.group]], device=sums.device)
        return Effects(sums[OWN] / number[:, None], sums[RANDOM] / max(1, n_random))
