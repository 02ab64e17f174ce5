"""The next-token distribution of a row where one neuron's activation is changed at one position.

The row runs once. A change at a position is a token beside the row that begins at the changed layer with the row's own
residual stream, and attends to the row before it: only the layers above run again, many changes a pass. The layers
below have nothing to do: they hand on what they are given.
Invariant: equal to one whole forward pass a change, to rounding. `ChangedRow` compares the two in the first row, and in
every row that is longer than all before. A model that ignores masks or positions, or whose blocks take more than the
stream, runs whole passes from then on.
What is changed is the activation at a site, so what a change of 1 means depends on the site. A layer with experts is
refused: what a router sends elsewhere has no activation to change.
Cost: the tokens of the row, and for each change one token in the layers above and one unembedding; memory for the row's
keys and values, and for the logits of a pass.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Integer
from torch import Tensor, nn

from neurolocal.errors import SubjectError, first_line
from neurolocal.records import Site
from neurolocal.subject.batches import halved, out_of_memory, release, upload
from neurolocal.subject.capture import Spot
from neurolocal.subject.model import Subject
from neurolocal.subject.rowcache import RowCache, mask, side_by_side

AGREE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 8e-2}
"""Largest difference of the two ways in log-probability, relative to the largest logit's distance from their mean."""

CHANGES = {"cpu": 128}
"""Changes a pass at most, by type of device."""

DEVICE_CHANGES = 1024
"""The same on every other device."""

LOGITS = 1 << 26
"""Logits of a pass at most: 256 MB in float32."""

REFUSALS = (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError, AssertionError)
"""What models raise that take no mask, no cache of ours or no pass that begins at a layer."""

log = logging.getLogger(__name__)


class Changes(NamedTuple):
    """Activations to set, each by itself: one neuron at one position."""

    position: Int64[np.ndarray, "change"]
    """In the row."""
    neuron: Int64[np.ndarray, "change"]
    """Index within the layer; -1 changes nothing."""
    value: Float32[np.ndarray, "change"]
    """The activation that it gets there."""

    def part(self, of: slice) -> Changes:
        """Some of them."""
        return Changes(*(column[of] for column in self))


def why_no_changes(subject: Subject, layer: int) -> str | None:
    """Why activations of a layer cannot be changed; None where they can."""
    if not subject.unembeds:
        return "its files have no unembedding"
    if layer in subject.expert_layers:
        return "the layer has experts, whose activations exist only where the router sends a token"
    return None


class ChangeableLayer:
    """One layer of a subject whose activations are changed, and how its passes are run."""

    def __init__(self, subject: Subject, layer: int, *, site: Site = "post", changes: int | None = None) -> None:
        """Choose the layer.

        Args:
            subject: the model.
            layer: index.
            site: where activations are changed.
            changes: of a pass, at most; None chooses by device and vocabulary. Halved where memory runs out.

        Raises:
            SubjectError: `why_no_changes`.
        """
        if reason := why_no_changes(subject, layer):
            raise SubjectError(f"changing activations of layer {layer} of {subject.name}: {reason}.")
        self.subject, self.layer = subject, layer
        self.changes = changes or max(
            1, min(CHANGES.get(subject.device.type, DEVICE_CHANGES), LOGITS // max(subject.d_vocab, 1))
        )
        self.skips = True
        """False once the model was found not to run from a layer on: whole passes are run."""
        self.compared = 0
        """Length of the longest row whose changes were held against whole passes."""
        self.spot = subject.spot(layer, site)
        self.blocks = [subject.model.get_submodule(_block(path)) for path in subject.paths.out[: layer + 1]]

    def row(self, tokens: Integer[np.ndarray, "pos"]) -> ChangedRow:
        """Run a row of token ids, ready for changes."""
        return ChangedRow(self, tokens)

    def halve(self, n: int, failed: str) -> None:
        """Fewer changes a pass from now on."""
        doing = f"changing activations of {self.subject.name}"
        self.changes = halved(n, failed, doing=doing, unit="changes")
        release()

    def whole_passes(self, reason: str) -> None:
        """Run whole passes from now on."""
        self.skips = False
        log.warning(
            "%s cannot run from layer %d on (%s); a whole pass for every change instead, which is slow",
            self.subject.name, self.layer, reason,
        )  # fmt: skip


class ChangedRow:
    """A row that has run, whose activations are changed one at a time."""

    def __init__(self, layer: ChangeableLayer, tokens: Integer[np.ndarray, "pos"]) -> None:
        """Run the row: its activations in the layer, its residual stream, its keys and values."""
        self._of, self._tokens = layer, np.ascontiguousarray(tokens, np.int64)
        self._cache: RowCache | None = None
        self._stream: Tensor | None = None
        self._tuple: int | None = None
        self.activations: Float[Tensor, "pos neuron"] = self._run()
        """Of every neuron of the layer at every position, unchanged."""

    def log_probs(self, changes: Changes) -> Iterator[tuple[slice, Float[Tensor, "change vocab"]]]:
        """Log-probabilities of the next token at the place of each change, in float32 on the device of the logits.

        Args:
            changes: at positions of this row.

        Yields:
            Which changes a pass held, and their log-probabilities.

        Raises:
            SubjectError: not even one change a pass fits into memory.
        """
        at = 0
        while at < len(changes.position):
            chosen = slice(at, min(at + self._of.changes, len(changes.position)))
            try:
                found = self._log_probs(changes.part(chosen))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                failed = first_line(error)
            else:
                yield chosen, found
                at = chosen.stop
                continue
            self._of.halve(chosen.stop - chosen.start, failed)

    def _run(self) -> Float[Tensor, "pos neuron"]:
        """The row's pass, without logits; with its keys and values where the model can run from a layer on."""
        if self._of.skips:
            try:
                self._cache = RowCache(len(self._tokens), room=self._of.changes)
                return self._pass(past_key_values=self._cache, use_cache=True)
            except REFUSALS as error:
                if self._of.compared or out_of_memory(error):
                    raise
                self._of.whole_passes(f"{type(error).__name__}: {first_line(error)}")
        return self._pass(use_cache=False)

    @torch.inference_mode()
    def _pass(self, **how: Any) -> Float[Tensor, "pos neuron"]:
        seen: list[Tensor] = []
        handles = [
            self._of.blocks[-1].register_forward_pre_hook(self._keep_stream, with_kwargs=True),
            self._of.blocks[-1].register_forward_hook(self._keep_shape),
            _watch(self._of.spot, seen),
        ]
        try:
            self._of.subject.body(input_ids=upload(self._tokens[None], self._of.subject.device), **how)
        finally:
            for handle in handles:
                handle.remove()
        return seen[0].reshape(len(self._tokens), -1).clone()

    def _keep_stream(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        stream = args[0] if args else kwargs["hidden_states"]
        assert isinstance(stream, Tensor)
        self._stream = stream.clone()

    def _keep_shape(self, module: nn.Module, args: Any, output: Any) -> None:
        self._tuple = len(output) if isinstance(output, tuple) else None

    @torch.inference_mode()
    def _log_probs(self, changes: Changes) -> Float[Tensor, "change vocab"]:
        if self._of.skips:
            try:
                found = self._beside(changes)
                if len(self._tokens) > self._of.compared:
                    self._compare(changes, found)
                if self._of.skips:
                    return found
            except REFUSALS as error:
                if self._of.compared or out_of_memory(error):
                    raise
                self._of.whole_passes(f"{type(error).__name__}: {first_line(error)}")
        return self._whole(changes)

    def _beside(self, changes: Changes) -> Float[Tensor, "change vocab"]:
        """All changes in one pass behind the row, from the changed layer on."""
        n, subject = len(self._tokens), self._of.subject
        places = [(int(p), (int(self._tokens[p]),)) for p in changes.position]
        beside = side_by_side([(self._tokens, places)], subject.device).without_prefix(n)
        assert self._stream is not None
        streams = self._stream[:, upload(changes.position, self._stream.device)]

        def replace(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (streams, *args[1:]), kwargs
            return args, kwargs | {"hidden_states": streams}

        handles = [
            self._of.blocks[-1].register_forward_pre_hook(replace, with_kwargs=True),
            _set(self._of.spot, np.arange(len(places)), changes),
        ]
        try:
            with _handing_on(self._of.blocks[:-1], self._tuple):
                out = subject.model(
                    input_ids=beside.tokens,
                    position_ids=beside.position,
                    attention_mask=mask(subject, beside),
                    past_key_values=self._cache,
                    use_cache=True,
                )
        finally:
            for handle in handles:
                handle.remove()
        return out.logits[0].float().log_softmax(-1)

    def _whole(self, changes: Changes) -> Float[Tensor, "change vocab"]:
        """A whole pass for every change."""
        found: list[Tensor] = []
        for i, position in enumerate(changes.position.tolist()):
            handle = _set(self._of.spot, np.array([position]), changes.part(slice(i, i + 1)))
            try:
                ids = upload(self._tokens[None, : position + 1], self._of.subject.device)
                logits = self._of.subject.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits
            finally:
                handle.remove()
            found.append(logits[0, -1].float().log_softmax(-1))
        return torch.stack(found)

    def _compare(self, changes: Changes, found: Float[Tensor, "change vocab"]) -> None:
        """Hold the first and the last change of a pass against whole passes."""
        which = sorted({0, len(found) - 1})
        true = torch.cat([self._whole(changes.part(slice(i, i + 1))) for i in which])
        scale = float((true - true.mean(-1, keepdim=True)).abs().max()) or 1.0
        difference = float((found[which] - true).abs().max()) / scale
        if not difference <= AGREE.get(self._of.subject.dtype, 1e-3):  # NaN is no agreement
            self._of.whole_passes(f"log-probabilities differ by {difference:.1e} of the largest")
        self._of.compared = len(self._tokens)


def _block(path: str) -> str:
    """The path of the block that holds a module: up to the first number."""
    found = re.match(r".*?\.\d+(?=\.)", path)
    if found is None:
        raise SubjectError(f"changing activations: the module {path} lies in no numbered block.")
    return found.group()


def _watch(spot: Spot, seen: list[Tensor]) -> torch.utils.hooks.RemovableHandle:
    """Keep what a pass has at a spot."""

    def after(module: nn.Module, args: Any, output: Tensor) -> None:
        seen.append(output if spot.half is None else output.chunk(2, dim=-1)[spot.half])

    def before(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0])

    return spot.module.register_forward_pre_hook(before) if spot.before else spot.module.register_forward_hook(after)


def _set(spot: Spot, at: Int64[np.ndarray, "change"], changes: Changes) -> torch.utils.hooks.RemovableHandle:
    """Set the activations of the next pass.

    Args:
        spot: where.
        at: the place of each change among the tokens of the pass.
        changes: neurons and values.
    """
    there = np.flatnonzero(changes.neuron >= 0)

    def changed(x: Tensor) -> Tensor:
        own = x.clone()
        first = 0 if spot.half is None else spot.half * (x.shape[-1] // 2)
        token, neuron = upload(at[there], x.device), upload(changes.neuron[there] + first, x.device)
        own.view(-1, x.shape[-1])[token, neuron] = upload(changes.value[there], x.device).to(x.dtype)
        return own

    def before(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (changed(args[0]), *args[1:])

    def after(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return changed(output)

    return spot.module.register_forward_pre_hook(before) if spot.before else spot.module.register_forward_hook(after)


@contextmanager
def _handing_on(blocks: Sequence[nn.Module], n_outputs: int | None) -> Generator[None, None, None]:
    """Let blocks return the stream that they are given.

    Args:
        blocks: which.
        n_outputs: things that a block returns in a tuple, the stream first; None: the stream by itself.
    """

    def forward(*args: Any, **kwargs: Any) -> Any:
        stream = args[0] if args else kwargs["hidden_states"]
        return stream if n_outputs is None else (stream, *[None] * (n_outputs - 1))

    own: list[tuple[nn.Module, Callable[..., Any] | None]] = [(b, vars(b).get("forward")) for b in blocks]
    for block in blocks:
        block.forward = forward
    try:
        yield
    finally:
        for block, before in own:
            if before is None:
                del block.forward
            else:
                block.forward = before
