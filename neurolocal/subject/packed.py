"""Many continuations of one row in few forward passes: the prefix once, then branches side by side.

A branch replaces a row from one position on: its tokens attend to the row's tokens before that position and to its own
earlier tokens, to nothing else. The row's keys and values are computed once, up to the deepest layer read, and are used
by every branch of every neuron; branches with the same tokens at the same position run once. Rows with few branches
share a pass.
Invariant: equal to one plain forward pass a branch, to rounding. `Packed` compares the two on a short row before the
first, and whenever a row and its branches together are longer than any before. For a model that ignores the mask or the
positions (ALiBi, local attention inside the layer) it warns and runs plain batches from then on. Where a token is not
routed to a neuron's expert, the neuron's activation is 0, since an expert that is not asked adds nothing; the extreme
of a branch is over the tokens that are routed there, if any is.
Cost: the tokens of prefix and branches, up to the layer read. A row with many branches has passes of at most `budget`
tokens (the first has the prefix as well) and memory for `prefix + budget` keys and values; rows with fewer run together
in passes of at most `together` tokens with padding, longest first. A pass uploads two small arrays, and its results
come back in one copy. Where memory runs out the limit is halved, which one line says, and the pass is run again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from neurolocal.errors import first_line
from neurolocal.records import Site
from neurolocal.subject.batches import halved, out_of_memory, release
from neurolocal.subject.branches import Branch, BranchActivations, Plan, Row, Taken
from neurolocal.subject.model import Subject
from neurolocal.subject.rowcache import BranchBatch, RowCache, mask, side_by_side
from neurolocal.words import Vocabulary

AGREE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 8e-2}
"""Largest difference of packed and plain passes, relative to the largest activation compared."""

BUDGET = {"cpu": 256}
"""Branch tokens a forward pass, by type of device. More make a CPU no faster, and the mask costs their square."""

DEVICE_BUDGET = 1024
"""The same on every other device, which needs more work at a time."""

TOGETHER = {"cpu": 1024}
"""Tokens of a pass that several rows share, padding included, by type of device."""

DEVICE_TOGETHER = 16_384
"""The same on every other device."""

log = logging.getLogger(__name__)


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
        self.together = TOGETHER.get(subject.device.type, DEVICE_TOGETHER)
        """Tokens of a pass that several rows share, at most. Halved where memory runs out."""
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

    def activations(self, row: Row, branches: Mapping[int, Sequence[Branch]]) -> dict[int, BranchActivations]:
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
            self.budget = self._halved(self.budget, failed)

    def activations_of_rows(
        self, layer: int, rows: Sequence[tuple[Row, Sequence[Branch]]]
    ) -> Iterator[tuple[int, BranchActivations]]:
        """The same for the branches of many rows at one layer, several rows a pass.

        Args:
            layer: which.
            rows: token ids, and branches, of each.

        Yields:
            The number of a row and its branches' activations, rows that share a pass one after another.

        Raises:
            ValueError: as `activations`.
            SubjectError: as `activations`.
        """
        for row, branches in rows:
            _check(row, {layer: branches}, self.n_ctx)
        lines = [_Line(i, row, Plan(branches)) for i, (row, branches) in enumerate(rows)]
        few = sorted((one for one in lines if 0 < one.plan.n_tokens <= self.budget), key=lambda one: one.length)
        alone = [one for one in lines if not 0 < one.plan.n_tokens <= self.budget]
        while few:
            n = max(1, self.together // few[-1].length)
            some, few = few[-n:], few[:-n]
            if not self.packs or len(some) == 1:
                alone += some
            elif self._run_together(layer, some):
                yield from ((one.number, one.plan.result()) for one in some)
            else:
                few += some  # once more, fewer at a time
        for one in alone:
            yield one.number, self.activations(one.row, {layer: one.plan.branches})[layer]

    def _run_together(self, layer: int, lines: Sequence[_Line]) -> bool:
        """Run the branches of several rows in one pass; whether that succeeded."""
        longest = lines[-1]
        try:
            return self._packed(
                lambda: self._one_pass(layer, lines),
                lambda: self._compare(longest.row, {layer: longest.plan}),
            )
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            failed = first_line(error)
        self.together = self._halved(self.together, failed)
        return False

    def _halved(self, n: int, failed: str) -> int:
        half = halved(n, failed, doing=f"replacing words on {self.subject.name}", unit="tokens")
        release()
        return half

    def _packed(self, run: Callable[[], None], compare: Callable[[], None]) -> bool:
        """Run branches side by side, and compare; whether the model can. Before the first row that is tried out."""
        if not self.packs:
            return False
        try:
            self._try()
            if self.packs:
                run()
                compare()
        except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError) as error:
            if self._compared or out_of_memory(error):
                raise
            self._give_up(f"{type(error).__name__}: {first_line(error)}")
        return self.packs

    def _activations(self, row: Row, branches: Mapping[int, Sequence[Branch]]) -> dict[int, BranchActivations]:
        plans = {layer: Plan(found) for layer, found in branches.items() if found}
        if plans and not self._packed(lambda: self._run_packed(row, plans), lambda: self._compare(row, plans)):
            plans = {layer: Plan(plan.branches) for layer, plan in plans.items()}  # nothing of a pass that failed
            for layer, plan in plans.items():
                self._run_plain(row, layer, plan)
        nothing = BranchActivations(np.empty(0, np.float32), np.empty(0, np.int64))
        return {layer: plans[layer].result() if layer in plans else nothing for layer in branches}

    def _run_packed(self, row: Row, plans: Mapping[int, Plan]) -> None:
        prefix = max(plan.prefix for plan in plans.values())
        longest = max(len(place[1]) for plan in plans.values() for place in plan.places)
        cache = RowCache(prefix, room=max(self.budget, longest))
        first, taken = True, {layer: Taken() for layer in plans}
        for layer in sorted(plans, reverse=True):  # the first pass fills the cache, so it must be the deepest
            plan = plans[layer]
            for chosen in plan.chunks(self.budget):
                beside = side_by_side([(_ids(row[:prefix]), [plan.places[i] for i in chosen])], self.subject.device)
                skip = prefix if first else 0
                at = np.arange(skip, skip + sum(len(plan.places[i][1]) for i in chosen))
                self._read(
                    beside if first else beside.without_prefix(prefix),
                    layer,
                    lambda x, part=(plan, chosen, at), own=taken[layer]: own.take([part], x),
                    past_key_values=cache,
                    use_cache=True,
                )
                first = False
        for one in taken.values():
            one.receive()

    def _one_pass(self, layer: int, lines: Sequence[_Line]) -> None:
        """All branches of several rows in one pass."""
        orders = [one.plan.chunks(one.plan.n_tokens)[0] for one in lines]
        both = list(zip(lines, orders, strict=True))
        beside = side_by_side(
            [(_ids(one.row[: one.plan.prefix]), [one.plan.places[i] for i in order]) for one, order in both],
            self.subject.device,
        )
        width, taken = beside.tokens.shape[1], Taken()
        parts = [
            (one.plan, order, n * width + np.arange(one.plan.prefix, one.length)) for n, (one, order) in enumerate(both)
        ]
        self._read(beside, layer, lambda x: taken.take(parts, x))
        taken.receive()

    def _read(self, beside: BranchBatch, layer: int, reader: Callable[[Any], None], **cache: Any) -> None:
        self.subject.read(
            beside.tokens,
            {layer: reader},
            sites=(self.site,),
            routed=True,
            position_ids=beside.position,
            attention_mask=mask(self.subject, beside),
            **cache,
        )

    def _run_plain(self, row: Row, layer: int, plan: Plan) -> None:
        """Every place with its own prefix, in batches of at most `budget` tokens, padded behind (causal: unseen)."""
        order = sorted(range(len(plan.places)), key=lambda i: plan.places[i][0] + len(plan.places[i][1]))
        taken = Taken()
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
                tokens,
                {layer: lambda x, part=(plan, chosen, at): taken.take([part], x)},
                sites=(self.site,),
                routed=True,
            )
        taken.receive()

    def _try(self) -> None:
        """Once, before the first row: branches at several positions of a short row, all of them run plainly too.

        They run alone, and beside a line with padding, as rows that share a pass.
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
        packed, plain = Plan(branches), Plan(branches)
        self._run_packed(ids, {layer: packed})
        self._run_plain(ids, layer, plain)
        lines = [_Line(0, ids, Plan(branches[: 2 * len(neurons)])), _Line(1, ids, Plan(branches))]
        self._one_pass(layer, lines)
        expected = plain.result().flat
        padded, whole = (line.plan.result().flat for line in lines)
        found = np.concatenate([packed.result().flat, whole, padded])
        true = np.concatenate([expected, expected, expected[: len(padded)]])
        known = np.isfinite(true)
        scale = max(float(np.abs(true[known]).max(initial=0)), 1e-9)
        difference = float(np.abs(found[known] - true[known]).max(initial=0)) / scale
        if not difference <= AGREE.get(self.subject.dtype, 1e-3):  # NaN is no agreement
            self._give_up(f"packed and plain passes differ by {difference:.1e} of the largest activation")

    def _compare(self, row: Row, plans: Mapping[int, Plan]) -> None:
        """Run the last branch of the longest pass plainly, if no pass before was that long."""
        layer, plan = max(plans.items(), key=lambda item: (item[0], len(item[1].places)))
        length = max(plan.prefix for plan in plans.values()) + min(self.budget, plan.n_tokens)
        if length <= self._compared:
            return
        last = plan.chunks(self.budget)[0][-1]
        few = Plan([b for b, place in zip(plan.branches, plan.place_of, strict=True) if place == last])
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


@dataclass(frozen=True)
class _Line:
    """A row of a pass that several share."""

    number: int
    """Its place among the rows that were given."""
    row: Row
    """Its token ids."""
    plan: Plan
    """Its branches."""

    @property
    def length(self) -> int:
        """Its tokens: the prefix and the branches."""
        return self.plan.prefix + self.plan.n_tokens


def _ids(row: Row) -> Int64[np.ndarray, "pos"]:
    return np.ascontiguousarray(row, np.int64)


def _check(row: Row, branches: Mapping[int, Sequence[Branch]], n_ctx: int | None) -> None:
    for layer, found in branches.items():
        for position, tokens, neuron in found:
            if not tokens or not 0 <= position <= len(row) or (n_ctx is not None and position + len(tokens) > n_ctx):
                raise ValueError(
                    f"running a branch for layer {layer}, neuron {neuron}: {len(tokens)} tokens at position "
                    f"{position}; expected one or more that begin within the row ({len(row)}) and end within the "
                    f"context ({n_ctx})"
                )
