"""What short test passes show of a model: the widths of its MLPs, that it is causal, and which sites it has.

Invariant: a site is offered only if every layer gave it in a real pass, with the width of `post` and unchanged until
the out projection. Cost: one pass of a few tokens for each property; the results are cached by config.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from neurolocal.errors import SubjectError
from neurolocal.records import Site
from neurolocal.subject.capture import Reader, Spot, Watch
from neurolocal.subject.routed import Activations, Routed

SITES: tuple[Site, ...] = ("post", "mid", "pre", "pre_linear")
"""Every site that a model may have."""


@runtime_checkable
class ProbeSubject(Protocol):
    """What the test passes need of a model; `Subject` has it before its widths and sites are known."""

    name: str
    n_layers: int
    d_vocab: int
    model: Any

    @property
    def expert_layers(self) -> Mapping[int, Any]: ...  # noqa: D102
    @property
    def dtype(self) -> torch.dtype: ...  # noqa: D102
    def spot(self, layer: int, site: Site) -> Spot: ...  # noqa: D102
    def run(  # noqa: D102
        self, tokens: Tensor, wanted: Mapping[int, tuple[Reader, list[Spot]]], body: dict[str, Any]
    ) -> None: ...


@torch.inference_mode()
def widths(subject: ProbeSubject) -> list[int]:
    """Width of each layer's MLP.

    Two rows that differ in their second token are run. Every layer must be reached, and the activations at the first
    token must be equal.

    Raises:
        SubjectError: layers whose out projection is never run, or a token that attends to later ones.
    """
    seen: dict[int, Tensor] = {}
    probe = torch.tensor([[0, subject.d_vocab // 3], [0, subject.d_vocab // 2]])

    def keep(i: int, x: Activations) -> None:
        seen[i] = (x.dense(fill=0.0) if isinstance(x, Routed) else x)[:, 0].float()

    subject.run(probe, {i: (partial(keep, i), [subject.spot(i, "post")]) for i in range(subject.n_layers)}, {})
    silent = [i for i in range(subject.n_layers) if i not in seen]
    if silent:
        raise SubjectError(
            f"looking for the neurons of {subject.name}: the out projections of layers {silent[:8]} are never run. "
            "Attention-only layers cannot be read yet."
        )
    one, other = seen[subject.n_layers - 1]
    rounding = 1e-3 if subject.dtype == torch.float32 else 5e-2
    if (one - other).abs().max() > rounding * one.abs().max():
        raise SubjectError(
            f"looking for the neurons of {subject.name}: a token attends to later ones, so this is an encoder. "
            "Give a decoder-only language model."
        )
    return [seen[i].shape[-1] for i in range(subject.n_layers)]


@torch.inference_mode()
def measured_sites(subject: ProbeSubject) -> list[bool]:
    """Which of `SITES` a model has."""
    probe = torch.tensor([[0, subject.d_vocab // 3, subject.d_vocab // 2]])
    found = {site: site == "post" or _is_there(subject, site, probe) for site in SITES}
    if found["pre"] and not _activates(subject, probe):
        found["pre"] = found["pre_linear"] = False
    return [found[site] for site in SITES]


def _is_there(subject: ProbeSubject, site: Site, probe: Int[Tensor, "batch pos"]) -> bool:
    """Whether every layer gives a site, with the right width and not overwritten."""
    try:
        spots = [[subject.spot(i, site), subject.spot(i, "post")] for i in range(subject.n_layers)]
    except (SubjectError, AttributeError):
        return False
    good: list[bool] = []
    watch = Watch([pair[0] for i, pair in enumerate(spots) if i not in subject.expert_layers])

    def check(x: Activations, post: Activations, *, spot: Spot) -> None:
        if isinstance(x, Routed) or isinstance(post, Routed):  # computed by our own products, not the model's modules
            good.append(isinstance(x, Routed) and isinstance(post, Routed) and x.width == post.width)
        else:
            good.append(x.shape == post.shape and watch.untouched(spot, x))

    try:
        subject.run(probe, {i: (partial(check, spot=pair[0]), pair) for i, pair in enumerate(spots)}, {})
    except KeyError:  # the module did not run before the out projection
        return False
    finally:
        watch.remove()
    return len(good) == subject.n_layers and all(good)


def _activates(subject: ProbeSubject, probe: Int[Tensor, "batch pos"]) -> bool:
    """Whether the halves of a fused projection are gate and in, in this order: post = act(pre) * pre_linear."""
    dense = [i for i in range(subject.n_layers) if i not in subject.expert_layers]
    if not dense or subject.spot(dense[0], "pre").half is None:
        return True
    pre, post = subject.spot(dense[0], "pre"), subject.spot(dense[0], "post")
    from transformers.activations import ACT2FN

    config = subject.model.config.get_text_config()
    act = ACT2FN[getattr(config, "hidden_act", None) or config.hidden_activation]
    good: list[bool] = []

    def check(gate: Tensor, linear: Tensor, true: Tensor) -> None:
        difference = (act(gate.float()) * linear.float() - true.float()).abs().max()
        good.append(bool(difference <= 0.05 * true.float().abs().max()))

    subject.run(probe, {dense[0]: (check, [pre, subject.spot(dense[0], "pre_linear"), post])}, {})
    return good == [True]
