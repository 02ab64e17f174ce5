"""The identity that no adapter can fake: what is read as neurons is what the MLP writes to the residual stream.

Invariant, in every layer, to rounding: `post` times the out projection's weight, plus its bias, is what the projection
returns; a change of `post` reaches the block's output as the projection (and the norm behind it) maps it, times one
factor for all tokens; and `post` at a token follows from the MLP's input at that token alone. So attention's output, a
projection behind a gate, or one whose input is scaled inside is refused, whatever the adapter says. In a layer with
experts, our products give what the experts' own module returns.
Cost: one pass of 3 rows of 6 tokens, each out projection once more on 3 vectors, and 64 columns of its weight; with
experts a second pass, and the experts' products once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurolocal.errors import SubjectError, first_line
from neurolocal.subject.experts import deviations
from neurolocal.subject.model import Subject

ROUNDING = {torch.float64: 1e-6, torch.float32: 2e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference that rounding may cause, relative to what is compared; float32 may be TF32 on a GPU."""

PACKED = 0.25
"""The same for a projection of packed weights, which may round its input to 8 bits."""

COLUMNS = 64
"""Dimensions of the residual stream in which the weight itself is multiplied."""

PLAIN, POST, INPUT = 0, 1, 2
"""Rows of the pass: unchanged; `post` changed; the MLP's input changed."""

LEAST = 0.1
"""The smallest factor between the out projection and the residual stream; Granite's are 0.2 and above."""

AT = [1, 2, 3, 4]
"""Tokens at which `post` is changed: several, since a gate's factor differs between them."""

ONE, OTHERS = 1, [0, 2, 3, 4, 5]
"""The token at which the MLP's input is changed, and those that must not notice."""


class Seen(NamedTuple):
    """What one layer did in the pass, in float32 on the CPU."""

    post: Float[Tensor, "3 pos d_mlp"]
    """The out projection's input, before it is changed."""
    output: Float[Tensor, "3 pos d_out"]
    """The out projection's output."""
    linear: Float[Tensor, "changed d_out"]
    """What the projection alone makes of the changes of `post` at the tokens AT."""
    written: Float[Tensor, "3 pos d_model"]
    """`output` after the norm behind the MLP, if there is one."""
    residual: Float[Tensor, "3 pos d_model"]
    """The block's output."""


@torch.inference_mode()
def check_identity(subject: Subject) -> None:
    """Refuse a model whose neurons are not where its adapter says, in every layer that has one out projection.

    Raises:
        SubjectError: names the first layer that differs, by how much, and what to do.
    """
    for index, seen in _pass(subject, subject.out_projections).items():
        own = (seen.post[PLAIN], seen.output[PLAIN], seen.residual[PLAIN])
        if all(bool(part.isfinite().all()) for part in own):  # what overflows is counted when it is collected
            _require_own_input(subject, index, seen)
            _require_own_weight(subject, index, seen)
            _require_residual(subject, index, seen)
    if subject.expert_layers:
        _require_experts(subject)


def plain_weight(out: nn.Module) -> Float[Tensor, "d_mlp d_out"] | None:
    """An out projection's weight, one row a neuron; None where it is packed or not in memory."""
    weight = getattr(out, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2 or not weight.is_floating_point() or weight.itemsize < 2:
        return None
    if weight.is_meta:
        return None
    return weight if type(out).__name__ == "Conv1D" else weight.T  # GPT-2 stores it so, a linear layer transposed


def _require_own_input(subject: Subject, index: int, seen: Seen) -> None:
    """`post` at a token follows from the MLP's input at that token, and at no other."""
    if torch.equal(seen.post[PLAIN][1:], seen.post[PLAIN][:-1]):
        return  # dead: the same for all tokens
    change = (seen.post[INPUT] - seen.post[PLAIN]).norm(dim=-1)
    size = seen.post[PLAIN].norm(dim=-1)
    if not change[ONE] > ROUNDING[subject.dtype] * size[ONE]:
        raise _refusal(subject, index, "its input does not follow from the MLP's input")
    elsewhere = float((change[OTHERS] / (size[OTHERS] + change[ONE])).max())
    if not elsewhere <= ROUNDING[subject.dtype]:
        raise _refusal(subject, index, f"its input depends on other tokens (by {elsewhere:.1e} of it)")


def _require_own_weight(subject: Subject, index: int, seen: Seen) -> None:
    """The projection's output is its input times its weight."""
    out = subject.spot(index, "post").module
    weight = plain_weight(out)
    if weight is None:  # then at least it is linear
        moved = (seen.output[POST] - seen.output[PLAIN])[AT]
        found, true, scale, rounding = moved, seen.linear, seen.linear, PACKED
    else:
        columns = torch.arange(0, weight.shape[1], -(-weight.shape[1] // COLUMNS), device=weight.device)
        some, bias = weight[:, columns].float().cpu(), getattr(out, "bias", None)
        true = seen.post[PLAIN] @ some + (0.0 if bias is None else bias[columns].float().cpu())
        terms = (seen.post[PLAIN].square() @ some.square()).sqrt()  # a sum of them is rounded like each
        found, scale, rounding = seen.output[PLAIN][:, columns.cpu()], terms + true.abs(), ROUNDING[subject.dtype]
    _require(subject, index, "its output is not its input times its weight", found, true, scale=scale, limit=rounding)


def _require_residual(subject: Subject, index: int, seen: Seen) -> None:
    """The residual stream changes by what the projection writes, times one factor (Granite: 0.22), and only there."""
    if seen.written.shape != seen.residual.shape:
        raise _refusal(
            subject, index, f"it returns {seen.written.shape[-1]} numbers a token, the block {seen.residual.shape[-1]}"
        )
    written, moved = (x[POST] - x[PLAIN] for x in (seen.written, seen.residual))
    factor = ((moved * written).sum() / written.square().sum().clamp_min(1e-30)).clamp_min(LEAST)
    limit = ROUNDING[subject.dtype]
    noise = torch.finfo(subject.dtype).eps * seen.residual[PLAIN].abs() / limit
    what = "what it returns does not reach the residual stream as it is"
    _require(subject, index, what, moved, factor * written, scale=factor * written.abs() + noise, limit=limit)


def _require_experts(subject: Subject) -> None:
    """The experts' outputs by our products are those of their own modules."""
    tokens = torch.tensor([[subject.d_vocab * n // 9 for n in (1, 2, 3, 5, 7, 8)]], device=subject.device)
    for index, difference in deviations(subject.body, subject.expert_layers, tokens).items():
        if difference > ROUNDING[subject.dtype]:  # NaN, where the model overflows, is counted when it is collected
            raise SubjectError(
                f"checking where the neurons of {subject.name} are: the experts of layer {index} return something else "
                f"than gate, in and down projections make (it differs by {difference:.1e} of it). Their activations "
                "would mean nothing. Try another version of transformers, or use another model."
            )


def _require(
    subject: Subject, index: int, what: str, found: Tensor, true: Tensor, *, scale: Tensor, limit: float
) -> None:
    difference = float((found - true).norm() / scale.norm().clamp_min(1e-30))
    if not difference <= limit:
        raise _refusal(subject, index, f"{what} (it differs by {difference:.1e} of it, {limit:.0e} may be rounding)")


def _refusal(subject: Subject, index: int, what: str) -> SubjectError:
    return SubjectError(
        f"checking where the neurons of {subject.name} are: {subject.paths.out[index]} is not the out projection of "
        f"layer {index}'s MLP, as TransformerLens's adapter says: {what}. Its activations would mean nothing. Try "
        "another version of transformer-lens, or use another model."
    )


def _pass(subject: Subject, layers: Iterable[int]) -> dict[int, Seen]:
    """One forward pass of three rows, which are equal again at the beginning of every block."""
    row = torch.tensor([subject.d_vocab * n // 9 for n in (1, 2, 3, 5, 7, 8)])
    watched = {i: _Layer(subject, i) for i in layers}
    try:
        subject.body(input_ids=row.repeat(3, 1).to(subject.device), use_cache=False)
        return {i: layer.seen() for i, layer in watched.items()}
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        first = first_line(error)
        raise SubjectError(
            f"checking where the neurons of {subject.name} are: its blocks are not like those of other decoders "
            f"({type(error).__name__}: {first}). Use another model."
        ) from error
    finally:
        for layer in watched.values():
            layer.remove()


class _Layer:
    """The hooks on one layer, which change its rows and keep what it did."""

    def __init__(self, subject: Subject, index: int) -> None:
        path, norm = subject.paths.out[index], subject.paths.ln2_post[index]
        block, parent = re.match(r".+?\.\d+(?=\.)", path), path.rpartition(".")[0]
        if block is None:
            raise _refusal(subject, index, "it is in no block")
        module = subject.model.get_submodule
        self.out, self.block = module(path), module(block[0])
        self.norm = module(norm) if norm else None
        self._parts: dict[str, Tensor] = {}
        self._last: tuple[Tensor, Tensor] | None = None
        self._random = torch.Generator().manual_seed(index)
        self._handles: list[Any] = [
            self.block.register_forward_pre_hook(self._begin, with_kwargs=True),
            self.out.register_forward_pre_hook(self._change_post),
            self.out.register_forward_hook(self._keep_output),
            *[one.register_forward_hook(self._maybe_norm) for one in self._after()],
            self.block.register_forward_hook(self._end),
        ]
        if parent != block[0]:
            self._handles.append(module(parent).register_forward_pre_hook(self._change_input, with_kwargs=True))
        else:  # OPT's projections are in the block itself
            spots = [subject.spot(index, "pre"), *([subject.spot(index, "pre_linear")] if subject.gated else [])]
            self._handles += [one.register_forward_hook(self._change_pre) for one in {spot.module for spot in spots}]

    def seen(self) -> Seen:
        return Seen(**{name: x.float().cpu() for name, x in self._parts.items() if name in Seen._fields})

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _after(self) -> list[nn.Module]:
        """The block's own modules that do not contain the out projection."""
        return [one for one in self.block.children() if all(part is not self.out for part in one.modules())]

    def _begin(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        x = _input(args, kwargs)
        x = x[PLAIN].expand_as(x).contiguous()
        self._parts["size"] = x[PLAIN, AT].float().norm(dim=-1).amax()
        return _with_input(x, args, kwargs)

    def _change_input(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return _with_input(self._changed(_input(args, kwargs)), args, kwargs)

    def _change_pre(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return self._changed(output)

    def _changed(self, x: Tensor) -> Tensor:
        """With noise twice as large as itself at one token of the row INPUT."""
        rows = _rows(x).clone()
        rows[INPUT, ONE] += 2 * rows[PLAIN].abs().amax().clamp_min(0.1) * self._noise(x)
        return rows.view(x.shape)

    def _change_post(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Add to `post` what moves the residual stream by about its own length, so that rounding does not hide it."""
        rows = _rows(args[0])
        noise = torch.stack([self._noise(rows) for _ in AT])
        linear = self.out.forward(2 * noise) - self.out.forward(noise)  # without its bias
        size = self._parts["size"].to(linear.device)
        times = (size / linear.float().norm(dim=-1).amax().clamp_min(1e-3 * size + 1e-6)).to(rows.dtype)
        self._parts |= {"post": rows, "linear": linear * times}
        rows = rows.clone()
        rows[POST, AT] += noise * times
        return (rows.view(args[0].shape), *args[1:])

    def _keep_output(self, module: nn.Module, args: Any, output: Tensor) -> None:
        rows = _rows(output).clone()
        self._parts |= {"output": rows, "written": rows if self.norm is None else self.norm(rows)}

    def _maybe_norm(self, module: nn.Module, args: Any, output: Any) -> None:
        if "output" in self._parts and len(args) == 1 and isinstance(output, Tensor):
            self._last = args[0], output

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        residual = output[0] if isinstance(output, (tuple, list)) else output
        if self._last is not None and self._last[1].data_ptr() == residual.data_ptr():
            residual = self._last[0]  # GPT-1 and OPT-350M have a norm between the stream and the block's end
        self._parts["residual"] = _rows(residual).clone()

    def _noise(self, like: Tensor) -> Float[Tensor, "width"]:
        return torch.randn(like.shape[-1], generator=self._random).to(like)


def _rows(x: Tensor) -> Float[Tensor, "3 pos width"]:
    return x.view(3, -1, x.shape[-1])  # some models flatten batch and position


def _input(args: Any, kwargs: dict[str, Any]) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]


def _with_input(x: Tensor, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return ((x, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": x})
