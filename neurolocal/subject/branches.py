"""Branches of rows, the plan by which equal ones run once, and the way of their activations to the host.

Invariant: a branch's activations are those of its own tokens at its own neuron, whatever ran beside it.
Cost: a pass's results stay on their device until `Taken.receive` copies them to the host together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, Integer
from torch import Tensor

from neurolocal.subject.batches import upload
from neurolocal.subject.routed import Activations, Routed

BranchPlace: TypeAlias = tuple[int, tuple[int, ...]]
"""(position where a branch begins, its token ids)."""

Branch: TypeAlias = tuple[int, Sequence[int], int]
"""(position where it begins, its token ids, the neuron to read)."""

Row: TypeAlias = Integer[np.ndarray, "_"]
"""Token ids."""


class BranchActivations(NamedTuple):
    """One neuron's activations over the tokens of each branch, all branches joined."""

    flat: Float32[np.ndarray, "token"]
    """Ordered by branch, then token."""
    start: Int64[np.ndarray, "branch"]
    """Where each branch begins in `flat`."""
    routed: Bool[np.ndarray, "token"] | None = None
    """Whether each token was routed to the neuron's expert; None: all were."""

    @property
    def largest(self) -> Float32[np.ndarray, "branch"]:
        """The largest over each branch's own tokens."""
        return self._extreme(np.maximum, np.float32(-np.inf))

    @property
    def smallest(self) -> Float32[np.ndarray, "branch"]:
        """The smallest over each branch's own tokens."""
        return self._extreme(np.minimum, np.float32(np.inf))

    def _extreme(self, of: np.ufunc, least: np.float32) -> Float32[np.ndarray, "branch"]:
        """Over the tokens that were routed to the neuron's expert; 0 where none was."""
        if not len(self.start):
            return self.flat
        if self.routed is None:
            return of.reduceat(self.flat, self.start)
        there = np.logical_or.reduceat(self.routed, self.start)
        return np.where(there, of.reduceat(np.where(self.routed, self.flat, least), self.start), np.float32(0))


class Plan:
    """The distinct branches of a layer, and the activations received so far."""

    def __init__(self, branches: Sequence[Branch]) -> None:
        self.branches = branches
        known: dict[BranchPlace, int] = {}
        self.place_of = np.array([known.setdefault((b[0], tuple(b[1])), len(known)) for b in branches])
        self.places = list(known)
        self.n_tokens = sum(len(tokens) for _, tokens in self.places)
        self.values: list[Float32[np.ndarray, "token"]] = [np.empty(0, np.float32)] * len(branches)
        self.routed: list[Bool[np.ndarray, "token"]] | None = None
        self._asked: list[list[int]] = [[] for _ in self.places]
        for b, place in enumerate(self.place_of):
            self._asked[place].append(b)

    @property
    def prefix(self) -> int:
        """The tokens before the last branch's position."""
        return max((place[0] for place in self.places), default=0)

    def chunks(self, budget: int) -> list[list[int]]:
        """Places by position, cut so that no chunk has more tokens than the budget."""
        chunks: list[list[int]] = []
        room = 0
        for i in sorted(range(len(self.places)), key=lambda i: self.places[i][0]):
            room -= len(self.places[i][1])
            if room < 0:
                chunks.append([])
                room = budget - len(self.places[i][1])
            chunks[-1].append(i)
        return chunks

    def asked(self, chosen: Sequence[int], tokens: Int64[np.ndarray, "token"]) -> Asked:
        """What the branches at the chosen places read.

        Args:
            chosen: indices of places, in the order of their tokens in `tokens`.
            tokens: where the tokens of the places are in the flattened (batch, pos).
        """
        branches, slots, neurons, sizes = [], [], [], []
        slot = 0
        for i in chosen:
            width = len(self.places[i][1])
            for b in self._asked[i]:
                branches.append(b)
                slots.extend(range(slot, slot + width))
                neurons.extend([self.branches[b][2]] * width)
                sizes.append(width)
            slot += width
        return Asked(branches, sizes, np.stack([tokens[slots], np.array(neurons, np.int64)]))

    def result(self) -> BranchActivations:
        """The activations received, in the order of `branches`."""
        sizes = [len(v) for v in self.values]
        routed = None if self.routed is None else np.concatenate(self.routed)
        return BranchActivations(np.concatenate(self.values), np.cumsum([0, *sizes[:-1]]), routed)


class Asked(NamedTuple):
    """The activations that some branches of a plan read in one pass."""

    branches: list[int]
    """Their indices in the plan."""
    sizes: list[int]
    """Tokens of each."""
    where: Int64[np.ndarray, "2 token"]
    """Places in the flattened (batch, pos), and neurons, branch after branch."""


class Taken:
    """Activations of one layer on its device, of one or several passes and plans, that come to the host in one copy."""

    def __init__(self) -> None:
        self._asked: list[tuple[Plan, Asked]] = []
        self._found: list[Tensor] = []

    def take(self, parts: Sequence[Part], x: Activations) -> None:
        """Keep what the parts of a pass read of its activations."""
        asked = [(plan, plan.asked(chosen, tokens)) for plan, chosen, tokens in parts]
        whole = x.x if isinstance(x, Routed) else x
        token, neuron = upload(np.concatenate([one.where for _, one in asked], axis=1), whole.device)
        if isinstance(x, Routed):
            self._found.append(torch.stack([x.at(token, neuron).float(), x.has(token, neuron).float()]))
        else:
            self._found.append(whole.flatten(0, 1)[token, neuron].float()[None])
        self._asked += asked

    def receive(self) -> None:
        """Give the plans their values."""
        found, *there = torch.cat(self._found, dim=1).cpu().numpy()
        at = 0
        for plan, (branches, sizes, _) in self._asked:
            if there and plan.routed is None:
                plan.routed = [np.empty(0, bool)] * len(plan.branches)
            for b, size in zip(branches, sizes, strict=True):
                plan.values[b] = found[at : at + size]
                if plan.routed is not None:
                    plan.routed[b] = there[0][at : at + size] > 0
                at += size


Part: TypeAlias = tuple[Plan, Sequence[int], Int64[np.ndarray, "token"]]
"""A plan, indices of its places, and where their tokens are in the flattened (batch, pos)."""
