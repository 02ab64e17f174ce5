"""What a model's first passes show: how wide its MLPs are, that it looks back only, and which sites it has.

Invariant: a site is offered only where every layer gave it in a real pass, of the width of `post` and unchanged until
the out projection. Cost: one pass of a few tokens a question; the answers are remembered by config.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from neurolocal.errors import SubjectError
from neurolocal.records import Site
from neurolocal.subject.capture import Spot, Watch

if TYPE_CHECKING:
    from neurolocal.subject.model import Subject

SITES: tuple[Site, ...] = ("post", "mid", "pre", "pre_linear")
"""Every site that a model may have."""


def widths(subject: Subject) -> list[int]:
    """Width of each layer's MLP.

    Two rows that differ in their second token are run: each layer is seen, and the first token does not care.

    Raises:
        SubjectError: layers whose out projection is never run, or a token that sees what comes after it.
    """
    seen: dict[int, Tensor] = {}
    probe = torch.tensor([[0, subject.d_vocab // 3], [0, subject.d_vocab // 2]])
    subject.read(probe, {i: (lambda x, i=i: seen.update({i: x[:, 0].float()})) for i in range(subject.n_layers)})
    silent = [i for i in range(subject.n_layers) if i not in seen]
    if silent:
        raise SubjectError(
            f"looking for the neurons of {subject.name}: the out projections of layers {silent[:8]} are never run. "
            "Mixture-of-experts and attention-only layers cannot be read yet."
        )
    one, other = seen[subject.n_layers - 1]
    rounding = 1e-3 if subject.dtype == torch.float32 else 5e-2
    if (one - other).abs().max() > rounding * one.abs().max():
        raise SubjectError(
            f"looking for the neurons of {subject.name}: a token sees what comes after it, so this is an encoder. "
            "Give a decoder-only language model."
        )
    return [seen[i].shape[-1] for i in range(subject.n_layers)]


@torch.inference_mode()
def measured_sites(subject: Subject) -> list[bool]:
    """Which of `SITES` a model has."""
    probe = torch.tensor([[0, subject.d_vocab // 3, subject.d_vocab // 2]])
    found = {site: site == "post" or _is_there(subject, site, probe) for site in SITES}
    if found["pre"] and not _activates(subject, probe):
        found["pre"] = found["pre_linear"] = False
    return [found[site] for site in SITES]


def _is_there(subject: Subject, site: Site, probe: Int[Tensor, "batch pos"]) -> bool:
    """Whether every layer gives a site, of the right width and not overwritten."""
    try:
        spots = [[subject.spot(i, site), subject.spot(i, "post")] for i in range(subject.n_layers)]
    except (SubjectError, AttributeError):
        return False
    good: list[bool] = []
    watch = Watch([pair[0] for pair in spots])

    def check(x: Tensor, post: Tensor, *, spot: Spot) -> None:
        good.append(x.shape == post.shape and watch.untouched(spot, x))

    try:
        subject.run(probe, {i: (partial(check, spot=pair[0]), pair) for i, pair in enumerate(spots)}, {})
    except KeyError:  # a module that did not run before the out projection
        return False
    finally:
        watch.remove()
    return len(good) == subject.n_layers and all(good)


def _activates(subject: Subject, probe: Int[Tensor, "batch pos"]) -> bool:
    """Whether a fused projection's halves are gate and in, in this order: whether post = act(pre) * pre_linear."""
    pre, post = subject.spot(0, "pre"), subject.spot(0, "post")
    if pre.half is None:
        return True
    from transformers.activations import ACT2FN

    config = subject.model.config.get_text_config()
    act = ACT2FN[getattr(config, "hidden_act", None) or config.hidden_activation]
    good: list[bool] = []

    def check(gate: Tensor, linear: Tensor, true: Tensor) -> None:
        difference = (act(gate.float()) * linear.float() - true.float()).abs().max()
        good.append(bool(difference <= 0.05 * true.float().abs().max()))

    subject.run(probe, {0: (check, [pre, subject.spot(0, "pre_linear"), post])}, {})
    return good == [True]
