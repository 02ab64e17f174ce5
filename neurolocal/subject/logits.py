"""Direct logit effect: the tokens that a neuron's output promotes and suppresses through the unembedding.

A neuron's output direction (its row of W_out) is multiplied by the norms that follow and by the unembedding, and its
mean over the vocabulary is subtracted. Ids without a text (padding of the vocabulary) are left out of both. A norm is a
linear map without its scale, which depends on the position.
Invariant: what a norm does is measured, not looked up by name; a norm that is no such map is refused.
The weight that a router gives an expert depends on the position, too, and is left out like the scale of a norm.
Cost: that of `strongest`, and memory for a layer's output directions in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurolocal.errors import SubjectError
from neurolocal.records import LogitEffects, Site
from neurolocal.subject.identity import plain_weight
from neurolocal.subject.model import Subject
from neurolocal.subject.strongest import Unembedding

AGREE = 1e-3
"""Largest allowed difference of a norm from scale * weight * (x or x - mean), relative to its largest output."""


class NormMap(NamedTuple):
    """What a norm does to a direction, without its scale."""

    weight: Float[Tensor, "d"]
    """Factor of each dimension."""
    centres: bool
    """Whether the mean over the dimensions is subtracted first, as in a LayerNorm."""

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Apply the map to directions."""
        return (x - x.mean(-1, keepdim=True) if self.centres else x) * self.weight


def why_no_logit_effects(subject: Subject) -> str | None:
    """Why a model has no direct logit effects; None where it has."""
    unembed = _there(subject, subject.paths.unembed)
    if unembed is None or not subject.unembeds:
        return "it has no unembedding of its own"
    if any(p.is_meta for p in subject.model.parameters()):
        return "some of its weights are not in memory (offloaded)"
    if any(plain_weight(one) is None for one in [unembed, *subject.out_projections.values()]):
        return "its weights are packed (quantised)"
    if _weight(unembed).shape[1] != _d_out(subject):
        return "another projection stands between the final norm and the unembedding"
    if _there(subject, subject.paths.ln_final) is None:
        return "it has no final norm where TransformerLens's adapter names one"
    return None


class LogitLens:
    """Direct logit effects of a model's layers; the unembedding is made ready once."""

    def __init__(self, subject: Subject, k: int) -> None:
        """Make the unembedding ready.

        Args:
            subject: the model.
            k: tokens a side; at most the ids that have a text.

        Raises:
            SubjectError: the model has no such effects (`why_no_logit_effects`), the final norm is no linear map up to
                its scale, or the unembedding is not finite.
        """
        self._subject, self._k, self._doing = subject, k, f"computing direct logit effects of {subject.name}"
        if reason := why_no_logit_effects(subject):
            raise SubjectError(f"{self._doing}: {reason}. Run without them.")
        tokens = [i for i, token in enumerate(subject.vocabulary.tokens[: subject.d_vocab]) if token]
        if not 1 <= k <= len(tokens):
            raise SubjectError(
                f"{self._doing}: {k} tokens a side, it has {len(tokens):,}. Choose 1 to {len(tokens):,}."
            )
        with torch.inference_mode():
            weight = _weight(_module(subject, subject.paths.unembed)).detach()
            self._final = norm_map(subject, subject.paths.ln_final, device=weight.device)
            try:
                self._unembedding = Unembedding(weight, torch.tensor(tokens))
            except ValueError as error:
                raise SubjectError(f"{self._doing}: {error}. Run without them.") from error

    @torch.inference_mode()
    def effects(
        self, layer: int, *, site: Site = "post", neurons: Sequence[int] | None = None, block: int | None = None,
        progress: Callable[[int], object] = lambda n: None,
    ) -> LogitEffects:  # fmt: skip
        """The k tokens that each neuron of a layer promotes and suppresses most, alone and directly.

        Args:
            layer: whose neurons.
            site: `mid` counts an activation before the norm that follows it; every other site means the neuron's
                output.
            neurons: which of the layer; None is all.
            block: neurons at a time; None chooses.
            progress: called with the number of neurons that were done.

        Raises:
            SubjectError: a norm is no linear map up to its scale, or a direction is not finite.
        """
        directions = output_directions(self._subject, layer, site=site)
        directions = directions if neurons is None else directions[list(neurons)]
        folded = self._final(directions.to(self._final.weight.device))
        try:
            found = self._unembedding.strongest(folded, self._k, block=block, progress=progress)
        except ValueError as error:
            raise SubjectError(f"{self._doing}, layer {layer}: {error}. Run without them.") from error
        promoted, promoted_effect, suppressed, suppressed_effect = (part.cpu() for part in found)
        return LogitEffects(
            promoted.int().numpy(), promoted_effect.numpy(), suppressed.int().numpy(), suppressed_effect.numpy()
        )

    @torch.inference_mode()
    def whole(
        self, layer: int, neurons: Sequence[int], *, site: Site = "post"
    ) -> Float[Tensor, "neuron vocab"]:  # fmt: skip
        """The direct logit effects of some neurons on every token, in float32, above the mean of those with a text.

        Raises:
            SubjectError: as `effects`.
        """
        directions = output_directions(self._subject, layer, site=site)[list(neurons)]
        weight = _weight(_module(self._subject, self._subject.paths.unembed)).detach()
        found = self._final(directions.to(weight.device)) @ weight.float().T
        return found - found[:, self._unembedding.tokens].mean(1, keepdim=True)


@torch.inference_mode()
def output_directions(subject: Subject, layer: int, *, site: Site = "post") -> Float[Tensor, "d_mlp d_model"]:
    """What an activation of 1 of each neuron adds to the residual stream, in float32, without the scales of norms."""
    if layer in subject.expert_layers:
        rows = torch.cat(list(subject.expert_layers[layer].directions()))
    else:
        rows = _rows(subject.spot(layer, "post").module).float()
    if site == "mid":
        norm = _norm_map(subject.spot(layer, "mid").module, rows.shape[0], device=rows.device, name=subject.name)
        rows = norm.weight[:, None] * rows
        rows = rows - rows.mean(0) if norm.centres else rows  # the norm subtracts the mean over the neurons
    path = subject.paths.ln2_post[layer]
    return norm_map(subject, path, device=rows.device)(rows) if path else rows


def norm_map(subject: Subject, path: str, *, device: torch.device) -> NormMap:
    """What the norm at a path does to a direction.

    Raises:
        SubjectError: no linear map up to a scale.
    """
    d_model = _weight(_module(subject, subject.paths.unembed)).shape[1]
    return _norm_map(_module(subject, path), d_model, device=device, name=f"{subject.name} at {path}")


def _norm_map(norm: nn.Module, d: int, *, device: torch.device, name: str) -> NormMap:
    """Measure a norm with a vector of +-100, whose scale is known, and test the result with a random vector."""
    own = copy.deepcopy(norm).float().to(device)  # a copy in float32, which half precision would round
    signs = 1.0 - 2.0 * (torch.arange(d, device=device) % 2)
    noise = torch.randn(d, generator=torch.Generator().manual_seed(0)).to(device)
    at, shifted, other, zero = (own(x[None])[0] for x in (100 * signs, 100 * signs + 300, 100 * noise, 0 * signs))
    centres = bool((shifted - at).abs().max() <= AGREE * (at - zero).abs().max())
    middle = signs - signs.mean() if centres else signs
    scaled = own(200 * signs[None])[0]
    fixed = (scaled - at).abs().max() <= AGREE * (at - zero).abs().max()  # otherwise there is no scale: an identity
    size = middle.square().mean().sqrt() if fixed else torch.tensor(0.01, device=device)
    found = NormMap((at - zero) / middle * size, centres)
    expected, true = found(noise[None])[0], other - zero
    factor = (expected @ true) / (expected @ expected)
    if not (factor * expected - true).abs().max() <= AGREE * true.abs().max() or factor <= 0:
        raise SubjectError(
            f"computing direct logit effects of {name}: its norm {type(norm).__name__} is no weighting of x or "
            "x - mean(x), up to a scale. Run without them."
        )
    return found


def _weight(module: nn.Module) -> Float[Tensor, "rows columns"]:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight


def _rows(out: nn.Module) -> Float[Tensor, "d_mlp d_model"]:
    """An out projection's weight, one row a neuron."""
    weight = plain_weight(out)
    assert weight is not None  # `why_no_logit_effects`
    return weight


def _d_out(subject: Subject) -> int:
    """Width of what the first layer's MLP returns."""
    first = subject.expert_layers.get(0)
    return _rows(subject.spot(0, "post").module).shape[1] if first is None else first.d_model


def _there(subject: Subject, path: str) -> nn.Module | None:
    try:
        return _module(subject, path)
    except AttributeError:
        return None


def _module(subject: Subject, path: str) -> nn.Module:
    if not path:
        raise AttributeError("no such module")
    return subject.model.get_submodule(path)
