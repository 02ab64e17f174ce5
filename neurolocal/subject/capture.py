"""Hooks on one layer's MLP: a reader receives the tensors of all its sites together, at the out projection.

Invariant: nothing is copied. Earlier tensors are held by reference until the out projection's input is known; then all
are passed to the reader and released. A model that overwrites a tensor before that does not have that site (see
`Watch.untouched`).
Cost: one Python call a hook: one at the out projection, and one for each further module that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Reader = Callable[..., None]
"""Receives the activations of one layer, one tensor (batch, pos, d_mlp) a site; must not change or keep them."""


class PassEnd(Exception):  # noqa: N818  not an error: it ends a forward pass
    """Raised when the deepest layer has been read."""


class Spot(NamedTuple):
    """Where in a layer a site is: the input or the output of a module, or one half of it."""

    module: torch.nn.Module
    """The module that is hooked."""
    before: bool
    """True for its input, False for its output."""
    half: int | None = None
    """0 or 1: the first or second half of the last axis, where gate and in projection are one module."""


def attach(
    out: torch.nn.Module, spots: Sequence[Spot], *, reader: Reader, shape: torch.Size, last: bool
) -> list[torch.utils.hooks.RemovableHandle]:
    """Hook one layer for one forward pass.

    Args:
        out: the layer's out projection.
        spots: one for each site, in the order of the reader's arguments; a spot on `out` is its input.
        reader: called once.
        shape: (batch, pos) of the pass; some models flatten the two.
        last: whether the pass ends here.
    """
    kept: dict[tuple[torch.nn.Module, bool], Tensor] = {}
    places = list(dict.fromkeys((s.module, s.before) for s in spots if s.module is not out))

    def deliver(module: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        reader(*[_shaped(args[0] if s.module is out else kept[s.module, s.before], shape, s.half) for s in spots])
        kept.clear()
        if last:
            raise PassEnd

    def deliver_one(module: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0]
        reader(x.view(*shape, x.shape[-1]))
        if last:
            raise PassEnd

    def keep_input(module: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        kept[module, True] = args[0]

    def keep_output(module: torch.nn.Module, args: Any, output: Tensor) -> None:
        kept[module, False] = output

    handles = [
        module.register_forward_pre_hook(keep_input) if before else module.register_forward_hook(keep_output)
        for module, before in places
    ]
    return [*handles, out.register_forward_pre_hook(deliver if places or len(spots) > 1 else deliver_one)]


def _shaped(x: Tensor, shape: torch.Size, half: int | None) -> Float[Tensor, "batch pos d_mlp"]:
    x = x.view(*shape, x.shape[-1])
    return x if half is None else x.chunk(2, dim=-1)[half]


class Watch:
    """Copies of the outputs at some spots in a pass, to detect afterwards whether the model overwrote them."""

    def __init__(self, spots: Sequence[Spot]) -> None:
        """Hook the outputs of the spots' modules."""
        self._copies: dict[torch.nn.Module, Tensor] = {}
        self._handles = [
            module.register_forward_hook(self._copy) for module in {s.module for s in spots if not s.before}
        ]

    def _copy(self, module: torch.nn.Module, args: Any, output: Tensor) -> None:
        self._copies[module] = output.clone()

    def untouched(self, spot: Spot, x: Float[Tensor, "batch pos d_mlp"]) -> bool:
        """Whether a tensor that a reader received is what the module returned."""
        if spot.before:
            return True
        copy = self._copies[spot.module]
        same = _shaped(copy, x.shape[:-1], spot.half)
        return bool(((x == same) | (same != same)).all())  # NaN stays NaN

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
