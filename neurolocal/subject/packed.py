"""Many continuations of one row in few forward passes: the prefix once, then branches side by side.

A branch replaces a row from one position on: its tokens attend to the row's tokens before that position and to its own
earlier tokens, to nothing else. The row's keys and values are computed once, up to the deepest layer read, and are used
by every branch of every neuron; branches with the same tokens at the same position run once.
Invariant: equal to one plain forward pass a branch, to rounding. `Packed` compares the two on a short row before the
first, and whenever a row and its branches together are longer than any before. For a model that ignores the mask or the
positions (ALiBi, local attention inside the layer) it warns and runs plain batches from then on. Where a token is not
routed to a neuron's expert, the neuron's activation is 0, since an expert that is not asked adds nothing; the extreme
of a branch is over the tokens that are routed there, if any is.
Cost: the tokens of prefix and branches, up to the layer read, in passes of at most `budget` tokens (the first has the
prefix as well); memory for `prefix + budget` keys and values and one layer's activations of as many tokens. A pass
uploads two small arrays, and the results of a row come back in one copy, so on a GPU its passes do not wait for each
other. Where memory runs out the budget is halved, which one line says, and the row is run again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, Integer
from torch import Tensor

from neurolocal.errors import first_line
from neurolocal.records import Site
from neurolocal.subject.batches import halved, out_of_memory, release, upload
from neurolocal.subject.model import Subject
from neurolocal.subject.routed import Activations, Routed
from neurolocal.subject.rowcache import BranchPlace, RowCache, mask, side_by_side
from neurolocal.words import Vocabulary

Branch: TypeAlias = tuple[int, Sequence[int], int]
"""(position where it begins, its token ids, the neuron to read)."""

AGREE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 8e-2}
"""Largest difference of packed and plain passes, relative to the largest activation compared."""

BUDGET = {"cpu": 256}
"""Branch tokens a forward pass, by type of device. More make a CPU no faster, and the mask costs their square."""

DEVICE_BUDGET = 1024
"""The same on every other device, which needs more work at a time."""

log = logging.getLogger(__name__)


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


class Packed:
    """A subject that runs branches, with what a stage needs to make them."""

    def __init__(self, subject: Subject, *, budget: int | None = None, site: Site = "post") -> None:
        """Wrap a subject.

        Args:
            subject: the model under study.
            budget: branch tokens a forward pass, at most, beside a row's prefix; a longer branch has its own pass. None
                chooses by the device. Halved where memory runs out.
            site: where the neurons are read.
        """
        self.subject = subject
        self.budget: int = budget or BUDGET.get(subject.device.type, DEVICE_BUDGET)
        self.site: Site = site
        self.packs = True
        """False once the model was found to ignore masks or positions: plain batches are run."""
        self._compared, self._tried = 0, False

    @property
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token id."""
        return self.subject.vocabulary

    @property
    def bos(self) -> int | None:
        """The id that begins a row."""
        return self.subject.bos

    @property
    def n_ctx(self) -> int | None:
        """Positions that the model has; None where it sets no limit."""
        return self.subject.n_ctx

    @property
    def half_precision(self) -> bool:
        """Whether it computes in 16 bits, where equal passes differ by more than float32 rounding."""
        return self.subject.dtype != torch.float32

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of whole texts, as the tokenizer gives them, without special tokens."""
        return self.subject.encode(texts)

    def encode_exactly(self, text: str) -> list[int] | None:
        """Ids whose text is exactly `text` in the middle of a row, or None where there are none."""
        return self.subject.encode_exactly(text)

    def decode(self, token: int) -> str:
        """The tokenizer's own text of one id, as TransformerLens's `to_str_tokens` gives it."""
        return self.subject.tokenizer.decode([token])

    def activations(
        self, row: Integer[np.ndarray, "pos"], branches: Mapping[int, Sequence[Branch]]
    ) -> dict[int, BranchActivations]:
        """Activations of each branch's neuron over its own tokens.

        Args:
            row: token ids; those at and after a branch's position have no effect on it.
            branches: by layer.

        Raises:
            ValueError: a branch without tokens, or one that begins past the row's end or ends past the context.
            SubjectError: not even one token a pass fits into memory.
        """
        _check(row, branches, self.n_ctx)
        while True:
            try:
                return self._activations(row, branches)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                failed = first_line(error)
            name = self.subject.name
            self.budget = halved(self.budget, failed, doing=f"replacing words on {name}", unit="tokens")
            release()

    def _activations(
        self, row: Integer[np.ndarray, "pos"], branches: Mapping[int, Sequence[Branch]]
    ) -> dict[int, BranchActivations]:
        plans = {layer: _Plan(found) for layer, found in branches.items() if found}
        if self.packs and plans:
            try:
                self._try()
                if self.packs:
                    self._run_packed(row, plans)
                    self._compare(row, plans)
            except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError) as error:
                if self._compared or out_of_memory(error):
                    raise
                self._give_up(f"{type(error).__name__}: {first_line(error)}")
        if not self.packs:
            plans = {layer: _Plan(plan.branches) for layer, plan in plans.items()}  # nothing of a pass that failed
            for layer, plan in plans.items():
                self._run_plain(row, layer, plan)
        nothing = BranchActivations(np.empty(0, np.float32), np.empty(0, np.int64))
        return {layer: plans[layer].result() if layer in plans else nothing for layer in branches}

    def _run_packed(self, row: Integer[np.ndarray, "pos"], plans: Mapping[int, _Plan]) -> None:
        prefix = max(place[0] for plan in plans.values() for place in plan.places)
        longest = max(len(place[1]) for plan in plans.values() for place in plan.places)
        known = torch.from_numpy(np.ascontiguousarray(row[:prefix], np.int64))
        cache = RowCache(prefix, room=max(self.budget, longest))
        first = True
        for layer in sorted(plans, reverse=True):  # the first pass fills the cache, so it must be the deepest
            plan = plans[layer]
            for chosen in plan.chunks(self.budget):
                places = [plan.places[i] for i in chosen]
                beside = side_by_side(places, known, first=first, device=self.subject.device)
                skip = prefix if first else 0
                at = np.arange(skip, len(beside.tokens))
                self.subject.read(
                    beside.tokens[None],
                    {layer: lambda x, plan=plan, chosen=chosen, at=at: plan.take(chosen, x, at)},
                    sites=(self.site,),
                    routed=True,
                    position_ids=beside.position[None],
                    attention_mask=mask(self.subject, beside),
                    past_key_values=cache,
                    use_cache=True,
                )
                first = False
        for plan in plans.values():
            plan.receive()

    def _run_plain(self, row: Integer[np.ndarray, "pos"], layer: int, plan: _Plan) -> None:
        """Every place with its own prefix, in batches of at most `budget` tokens, padded behind (causal: unseen)."""
        order = sorted(range(len(plan.places)), key=lambda i: plan.places[i][0] + len(plan.places[i][1]))
        while order:
            longest = plan.places[order[-1]][0] + len(plan.places[order[-1]][1])
            size = max(1, self.budget // longest)
            chosen, order = order[-size:], order[:-size]
            tokens = torch.zeros((len(chosen), longest), dtype=torch.long)
            for line, i in zip(tokens, chosen, strict=True):
                position, own = plan.places[i]
                whole = np.concatenate([row[:position], np.asarray(own, row.dtype)])
                line[: len(whole)] = torch.from_numpy(whole.astype(np.int64))
            begins = [(n * longest + plan.places[i][0], len(plan.places[i][1])) for n, i in enumerate(chosen)]
            at = np.concatenate([np.arange(begin, begin + width) for begin, width in begins])
            self.subject.read(
                tokens, {layer: lambda x, c=chosen, at=at: plan.take(c, x, at)}, sites=(self.site,), routed=True
            )
        plan.receive()

    def _try(self) -> None:
        """Once, before the first row: branches at several positions of a short row, all of them run plainly too.

        A model that ignores positions (MPT adds its ALiBi bias by place) is right for a branch that begins where the
        row ends, which may be the only one that `_compare` sees.
        """
        ids = np.arange(1, 16) * (self.subject.d_vocab // 16)
        if self._tried or (self.n_ctx is not None and self.n_ctx < len(ids)):
            return
        self._tried = True
        layer = self.subject.n_layers - 1
        neurons = range(0, self.subject.d_mlp[layer], max(1, self.subject.d_mlp[layer] // 16))
        places = [(at, [int(ids[-at]), int(ids[-at - 1])]) for at in (2, 7, 12)]
        branches = [(at, own, neuron) for at, own in places for neuron in neurons]
        packed, plain = _Plan(branches), _Plan(branches)
        self._run_packed(ids, {layer: packed})
        self._run_plain(ids, layer, plain)
        found, true = packed.result().flat, plain.result().flat
        known = np.isfinite(true) & np.isfinite(found)
        difference = float(np.abs(found - true)[known].max(initial=0)) / max(
            float(np.abs(true)[known].max(initial=0)), 1e-9
        )
        if difference > AGREE.get(self.subject.dtype, 1e-3):
            self._give_up(f"packed and plain passes differ by {difference:.1e} of the largest activation")

    def _compare(self, row: Integer[np.ndarray, "pos"], plans: Mapping[int, _Plan]) -> None:
        """Run the last branch of the longest pass plainly, if no pass before was that long."""
        layer, plan = max(plans.items(), key=lambda item: (item[0], len(item[1].places)))
        length = max(p for plan in plans.values() for p, _ in plan.places) + min(self.budget, plan.n_tokens)
        if length <= self._compared:
            return
        last = plan.chunks(self.budget)[0][-1]
        few = _Plan([b for b, place in zip(plan.branches, plan.place_of, strict=True) if place == last])
        self._run_plain(row, layer, few)
        seen = np.concatenate([plan.values[b] for b in np.flatnonzero(plan.place_of == last)])
        true = few.result().flat
        routed = few.result().routed
        if plan.routed is not None and routed is not None:  # rounding may send a token to another expert
            both = np.concatenate([plan.routed[b] for b in np.flatnonzero(plan.place_of == last)]) == routed
            seen, true = (seen[both], true[both]) if both.mean() >= 0.5 else (seen, true)
        scale = max(float(np.abs(plan.result().flat).max()), 1e-9)
        difference = float(np.abs(seen - true).max()) / scale
        if not difference <= AGREE.get(self.subject.dtype, 1e-3) and np.isfinite(true).all():
            self._give_up(f"packed and plain passes differ by {difference:.1e} of the largest activation")
        self._compared = length

    def _give_up(self, reason: str) -> None:
        self.packs = False
        log.warning("%s cannot run branches side by side (%s); plain batches instead", self.subject.name, reason)


class _Plan:
    """The distinct branches of a layer, and the activations received so far."""

    def __init__(self, branches: Sequence[Branch]) -> None:
        self.branches = branches
        known: dict[BranchPlace, int] = {}
        self.place_of = np.array([known.setdefault((b[0], tuple(b[1])), len(known)) for b in branches])
        self.places = list(known)
        self.n_tokens = sum(len(tokens) for _, tokens in self.places)
        self.values: list[Float32[np.ndarray, "token"]] = [np.empty(0, np.float32)] * len(branches)
        self.routed: list[Bool[np.ndarray, "token"]] | None = None
        self._waiting: list[tuple[list[int], list[int], Tensor]] = []
        self._asked: list[list[int]] = [[] for _ in self.places]
        for b, place in enumerate(self.place_of):
            self._asked[place].append(b)

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

    def take(self, chosen: Sequence[int], x: Activations, tokens: Int64[np.ndarray, "token"]) -> None:
        """Keep the activations of the neurons that the branches at the chosen places read, on their device.

        Args:
            chosen: indices of places, in the order of their tokens in `tokens`.
            x: activations of the pass.
            tokens: where the tokens of the places are in the flattened (batch, pos).
        """
        slots, neurons, sizes, asked = [], [], [], []
        slot = 0
        for i in chosen:
            width = len(self.places[i][1])
            for b in self._asked[i]:
                slots.extend(range(slot, slot + width))
                neurons.extend([self.branches[b][2]] * width)
                sizes.append(width)
                asked.append(b)
            slot += width
        whole = x.x if isinstance(x, Routed) else x
        token, neuron = upload(np.stack([tokens[slots], np.array(neurons)]), whole.device)
        if isinstance(x, Routed):
            found = torch.stack([x.at(token, neuron).float(), x.has(token, neuron).float()])
        else:
            found = whole.flatten(0, 1)[token, neuron].float()[None]
        self._waiting.append((asked, sizes, found))

    def receive(self) -> None:
        """Copy to the host what was taken, all of it together."""
        if not self._waiting:
            return
        asked = [b for own, _, _ in self._waiting for b in own]
        ends = np.cumsum([size for _, sizes, _ in self._waiting for size in sizes])[:-1]
        found, *there = torch.cat([own for _, _, own in self._waiting], dim=1).cpu().numpy()
        for b, values in zip(asked, np.split(found, ends), strict=True):
            self.values[b] = values
        if there:
            self.routed = [np.empty(0, bool)] * len(self.branches)
            for b, values in zip(asked, np.split(there[0] > 0, ends), strict=True):
                self.routed[b] = values
        self._waiting.clear()

    def result(self) -> BranchActivations:
        sizes = [len(v) for v in self.values]
        routed = None if self.routed is None else np.concatenate(self.routed)
        return BranchActivations(np.concatenate(self.values), np.cumsum([0, *sizes[:-1]]), routed)


def _check(row: Integer[np.ndarray, "pos"], branches: Mapping[int, Sequence[Branch]], n_ctx: int | None) -> None:
    for layer, found in branches.items():
        for position, tokens, neuron in found:
            if not tokens or not 0 <= position <= len(row) or (n_ctx is not None and position + len(tokens) > n_ctx):
                raise ValueError(
                    f"running a branch for layer {layer}, neuron {neuron}: {len(tokens)} tokens at position "
                    f"{position}; expected one or more that begin within the row ({len(row)}) and end within the "
                    f"context ({n_ctx})"
                )
