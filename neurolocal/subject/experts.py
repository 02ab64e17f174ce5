"""A layer with experts: its forward pass with our own products, which hands the activations to a reader on the way.

transformers (5) keeps a layer's experts in one module with fused parameters `gate_up_proj` (or `up_proj`) and
`down_proj`, (expert, ., .), and calls it with the inputs, the experts chosen for each position, and their weights. For
one pass that module's forward is replaced by the same sums: the inputs sorted by expert, one product an expert (on a
GPU one grouped product), the module's own gate, the down projection, the weights. The activation of a neuron is the
input of the down projection, before the routing weight.
Invariant: the replaced forward returns what transformers' own does, to rounding (`deviation` measures it); after the
pass the module is as before. Nothing is computed for a position at an expert that it was not routed to.
Cost: the products of the experts, as without a reader, and the activations of one layer are kept until it has read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from neurolocal.errors import SubjectError
from neurolocal.records import Experts
from neurolocal.subject.capture import PassEnd, Reader, Spot
from neurolocal.subject.routed import Routed

HALVES = {"pre": 0, "pre_linear": 1}
"""The sites before the gate, by their half of the in projection's output."""

SHARED_PARTS = {None: "down_proj", 0: "gate_proj", 1: "up_proj"}
"""The modules of a shared expert at `post`, `pre` and `pre_linear`."""


class ExpertLayer:
    """The experts of one layer: where they are, their sizes, and how to read them."""

    def __init__(self, experts: Any, shared: nn.Module | None, *, name: str) -> None:
        """Wrap a module of fused experts.

        Args:
            experts: transformers' module.
            shared: the MLP that runs at every position beside them.
            name: of the model and the layer, for messages.
        """
        self.experts, self.shared, self.name = experts, shared, name
        down = experts.down_proj
        self.transposed: bool = experts.is_transposed
        self.n_experts: int = down.shape[0]
        self.d_expert, self.d_model = (down.shape[1:]) if self.transposed else (down.shape[2], down.shape[1])
        self.d_shared = 0 if shared is None else self._part(None).in_features
        if not self.d_shared:
            self.shared = None
        self.gated: bool = experts.has_gate
        self._in = experts.gate_up_proj if self.gated else experts.up_proj

    @property
    def width(self) -> int:
        """Neurons of the layer: those of each expert, then those of the shared one."""
        return self.n_experts * self.d_expert + self.d_shared

    @property
    def layout(self) -> Experts:
        """Which neurons are whose, with no position counted yet."""
        offsets = np.arange(self.n_experts + 1, dtype=np.int64) * self.d_expert
        if self.d_shared:
            offsets = np.append(offsets, self.width)
        return Experts(offsets, int(self.d_shared > 0), np.zeros(len(offsets) - 1, np.int64))

    def spot(self, site: str) -> Spot:
        """Where a site is.

        Raises:
            SubjectError: these experts have no such site.
        """
        if site == "post":
            return Spot(self.experts, before=True)
        if site not in HALVES or (site == "pre_linear" and not self.gated):
            raise SubjectError(f"reading {self.name} at {site}: its experts have no such site.")
        if self.shared is not None:
            self._part(HALVES[site])
        return Spot(self.experts, before=False, half=HALVES[site])

    def attach(self, spots: Sequence[Spot], *, reader: Reader, shape: torch.Size, last: bool) -> list[_Undo]:
        """Replace the experts' forward for one pass; the arguments are those of `capture.attach`."""
        reading = _Reading(self, [spot.half for spot in spots], reader, (shape[0], shape[1]), last=last)
        handles: list[Any] = [_Swapped(self.experts, reading.forward)]
        if self.shared is not None:
            for half in dict.fromkeys(reading.halves):
                if half is not None:
                    handles.append(self._part(half).register_forward_hook(reading.keeper(half)))
            handles.append(self._part(None).register_forward_pre_hook(reading.at_shared))
        return handles

    def unread(self) -> _Undo:
        """The same for a layer that nobody reads: a layer's bits then don't depend on which others are read."""

        def forward(*args: Tensor, **named: Tensor) -> Tensor:
            hidden, index, weights = (*args, *named.values())
            return self.products(hidden, index, weights, _nobody)

        return _Swapped(self.experts, forward)

    def products(
        self,
        hidden: Float[Tensor, "token d_model"],
        index: Int64[Tensor, "token k"],
        weights: Float[Tensor, "token k"],
        deliver: Callable[[Float[Tensor, "entry d_expert"], Tensor | None, _Order], None],
        *,
        inner: bool = False,
        down: bool = True,
        grouped: bool | None = None,
    ) -> Float[Tensor, "token d_model"]:
        """The experts' output.

        Args:
            hidden: inputs.
            index: the experts of each position.
            weights: their weights.
            deliver: receives the activations, the in projection's output where `inner`, and their order.
            inner: whether the in projection's output is kept.
            down: whether the output is needed; otherwise it is zeros.
            grouped: whether torch's grouped product is used; None is on a GPU that has it.
        """
        order = _Order.of(index, self.n_experts)
        use = _has_grouped(hidden, self._in) if grouped is None else grouped
        run = self._grouped if use else self._one_by_one
        return run(hidden, weights.reshape(-1), order, deliver, inner, down)

    def _one_by_one(
        self, hidden: Tensor, weights: Tensor, order: _Order, deliver: Callable[..., None], inner: bool, down: bool
    ) -> Tensor:
        """One product an expert: what it reads and writes stays in the caches."""
        n = len(order.token)
        parts = [(e, a, b) for e, (a, b) in enumerate(itertools.pairwise(order.offsets.tolist())) if a < b]
        post = hidden.new_empty((n, self.d_expert))
        before = hidden.new_empty((n, self.d_expert * (1 + self.gated))) if inner else None
        out = torch.zeros_like(hidden)
        for e, a, b in parts:
            made = self._product(hidden[order.token[a:b]], "in", e)
            if before is not None:
                before[a:b] = made
            post[a:b] = self._gate(made)
            if down:
                self._add(out, post[a:b], weights, order, e, a, b)
        deliver(post, before, order)
        return out

    def _add(self, out: Tensor, post: Tensor, weights: Tensor, order: _Order, e: int, a: int, b: int) -> None:
        made = self._normed(self._product(post, "down", e)) * weights[order.entry[a:b], None]
        out.index_add_(0, order.token[a:b], made.to(out.dtype))

    def _grouped(
        self, hidden: Tensor, weights: Tensor, order: _Order, deliver: Callable[..., None], inner: bool, down: bool
    ) -> Tensor:
        """All experts in one product: nothing waits for the host."""
        ends = order.offsets[1:].to(torch.int32)
        made = self._grouped_product(hidden[order.token], "in", order, ends)
        post = self._gate(made)
        deliver(post, made if inner else None, order)
        if not down:
            return torch.zeros_like(hidden)
        made = self._normed(self._grouped_product(post, "down", order, ends)) * weights[order.entry, None]
        back = torch.empty_like(made)
        back[order.entry] = made
        return back.view(len(hidden), -1, self.d_model).sum(1).to(hidden.dtype)

    def _product(self, x: Tensor, which: str, e: int) -> Tensor:
        weight, bias = self._weights(which)
        one = weight[e] if self.transposed else weight[e].T
        return torch.mm(x, one) if bias is None else torch.addmm(bias[e], x, one)

    def _grouped_product(self, x: Tensor, which: str, order: _Order, ends: Tensor) -> Tensor:
        weight, bias = self._weights(which)
        made = nn.functional.grouped_mm(x.to(weight.dtype), weight if self.transposed else weight.mT, offs=ends)
        return made if bias is None else made + bias[order.expert]

    def _weights(self, which: str) -> tuple[Tensor, Tensor | None]:
        name = "down_proj" if which == "down" else "gate_up_proj" if self.gated else "up_proj"
        return getattr(self.experts, name), getattr(self.experts, f"{name}_bias") if self.experts.has_bias else None

    def _gate(self, made: Tensor) -> Tensor:
        return self.experts._apply_gate(made) if self.gated else self.experts.act_fn(made)

    def _normed(self, x: Tensor) -> Tensor:
        return self.experts.post_expert_norm(x) if getattr(self.experts, "has_post_expert_norm", False) else x

    def half_of(self, inner: Tensor, half: int) -> Tensor:
        """The gate's or the in projection's part of the in projection's output."""
        if not self.gated:
            return inner
        return inner.chunk(2, dim=-1)[half] if self.experts.is_concatenated else inner[..., half::2]

    def _part(self, half: int | None) -> Any:
        """The module of the shared expert at a site."""
        found = getattr(self.shared, SHARED_PARTS[half], None)
        if not isinstance(found, nn.Linear):
            raise SubjectError(
                f"looking for the neurons of {self.name}: its shared expert {type(self.shared).__name__} has no "
                f"{SHARED_PARTS[half]}. Only experts with gate, in and down projections can be read."
            )
        return found

    def directions(self) -> Iterator[Float[Tensor, "neuron d_model"]]:
        """The down projections' weights in float32, one row a neuron: expert by expert, then the shared one's."""
        if getattr(self.experts, "has_post_expert_norm", False):
            raise SubjectError(
                f"computing direct logit effects of {self.name}: a norm stands behind each expert. Run without them."
            )
        down = self.experts.down_proj
        for e in range(self.n_experts):
            yield (down[e] if self.transposed else down[e].T).float()
        if self.shared is not None:
            yield self._part(None).weight.T.float()


class _Order:
    """The pairs of position and expert of a batch, sorted by expert, then position."""

    def __init__(self, entry: Tensor, token: Tensor, expert: Tensor, offsets: Tensor) -> None:
        self.entry, self.token, self.expert, self.offsets = entry, token, expert, offsets

    @classmethod
    def of(cls, index: Int64[Tensor, "token k"], n_experts: int) -> _Order:
        flat = index.reshape(-1).long()
        expert, entry = torch.sort(flat, stable=True)
        counts = torch.zeros(n_experts, dtype=torch.long, device=flat.device).scatter_add_(
            0, flat, torch.ones_like(flat)
        )  # fmt: skip
        offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        return cls(entry, entry // index.shape[1], expert, offsets)


class _Reading:
    """One pass over one layer: the reader is called when the experts and the shared expert have both been seen."""

    def __init__(
        self, layer: ExpertLayer, halves: Sequence[int | None], reader: Reader, shape: tuple[int, int], *, last: bool
    ) -> None:
        self.layer, self.halves, self._reader, self._shape, self._last = layer, halves, reader, shape, last
        self._shared: dict[int | None, Tensor] = {}
        self._found: tuple[dict[int | None, Tensor], _Order] | None = None

    def forward(self, *args: Tensor, **named: Tensor) -> Tensor:
        hidden, index, weights = (*args, *named.values())
        wide = any(half is not None for half in self.halves)
        return self.layer.products(hidden, index, weights, self._at_experts, inner=wide, down=not self._last)

    def keeper(self, half: int) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(module: nn.Module, args: Any, output: Tensor) -> None:
            self._shared[half] = output

        return keep

    def at_shared(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._shared[None] = args[0]
        self._deliver()

    def _at_experts(self, post: Tensor, inner: Tensor | None, order: _Order) -> None:
        of = {half: post if half is None or inner is None else self.layer.half_of(inner, half) for half in self.halves}
        self._found = of, order
        self._deliver()

    def _deliver(self) -> None:
        has_shared = self.layer.shared is not None
        if self._found is None or (has_shared and None not in self._shared):
            return
        of, order = self._found
        self._reader(*[
            Routed(
                of[half], order.token, order.expert, order.offsets, self._shape,
                self._shared[half].view(*self._shape, -1) if has_shared else None,
            )
            for half in self.halves
        ])  # fmt: skip
        self._found = None
        self._shared.clear()
        if self._last:
            raise PassEnd


def _nobody(post: Tensor, inner: Tensor | None, order: _Order) -> None:
    """The reader of a layer that is not read."""


class _Undo:
    """What `attach` returns: something that can be removed after the pass."""

    def remove(self) -> None:
        """Undo it."""
        raise NotImplementedError


class _Swapped(_Undo):
    """A module's forward replaced; accelerate, which moves offloaded weights, keeps the original under another name."""

    def __init__(self, module: nn.Module, forward: Callable[..., Tensor]) -> None:
        self._module, self._name = module, "_old_forward" if hasattr(module, "_hf_hook") else "forward"
        self._old = vars(module).get(self._name)
        setattr(module, self._name, forward)

    def remove(self) -> None:
        if self._old is None:
            delattr(self._module, self._name)
        else:
            setattr(self._module, self._name, self._old)


def expert_layer(mlp: nn.Module, *, name: str) -> ExpertLayer | None:
    """The experts of a layer's MLP; None where it has none.

    Args:
        mlp: the module that TransformerLens names for the layer's MLP.
        name: of the model and the layer, for messages.

    Raises:
        SubjectError: experts of a form that cannot be read.
    """
    found = [m for m in mlp.modules() if isinstance(getattr(m, "down_proj", None), nn.Parameter)]
    many = [m for m in mlp.modules() if isinstance(m, nn.ModuleList)]
    if not found and not many:
        return None
    if len(found) != 1 or not all(hasattr(found[0], a) for a in ("is_transposed", "has_gate", "is_concatenated")):
        kinds = ", ".join(dict.fromkeys(type(m).__name__ for m in found or many))
        raise SubjectError(
            f"looking for the neurons of {name}: its experts ({kinds}) are not of the form that transformers 5 gives "
            "them, one module with fused weights. Convert the model with transformers 5, or use another one."
        )
    beside = [m for m in mlp.children() if m is not found[0] and hasattr(m, "down_proj")]
    return ExpertLayer(found[0], beside[0] if beside else None, name=name)


@torch.inference_mode()
def deviations(body: nn.Module, layers: dict[int, ExpertLayer], tokens: Int64[Tensor, "batch pos"]) -> dict[int, float]:
    """How far the experts' outputs by our products are from transformers' own, by layer.

    One plain pass is run; each experts module's inputs then go through `ExpertLayer.products`. The figure is the
    largest difference as a share of the module's largest output.
    """
    found: dict[int, float] = {}

    def compare(number: int, layer: ExpertLayer) -> Callable[..., None]:
        def see(module: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> None:
            hidden, index, weights = (*args, *named.values())
            ours = layer.products(hidden, index, weights, _nobody)
            scale = output.float().abs().max().clamp(min=1e-30)
            found[number] = float((ours.float() - output.float()).abs().max() / scale)

        return see

    handles = [one.experts.register_forward_hook(compare(i, one), with_kwargs=True) for i, one in layers.items()]
    try:
        body(input_ids=tokens, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _has_grouped(x: Tensor, weight: Tensor) -> bool:
    """Whether torch's grouped product runs on this device in this dtype."""
    if x.device.type != "cuda" or weight.dtype != torch.bfloat16 or not hasattr(nn.functional, "grouped_mm"):
        return False
    if any(n * weight.element_size() % 16 for n in weight.shape[1:]):  # its kernels read 16 bytes at a time
        return False
    return torch.cuda.get_device_capability(x.device) >= (8, 0)
