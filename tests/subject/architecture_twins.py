"""Tiny random models of every kind in a user's folder, and how far `load_subject` is from plain forward hooks on them.

`scripts/architectures.py` makes the table in the subject's README of the same functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from architecture_kinds import ARCHITECTURES, WRAPPERS, Places
from torch import Tensor

from neurolocal.records import Site
from neurolocal.subject import Subject
from neurolocal.subject.packed import Packed

ROW, PADDED = 40, 12
"""Tokens of a row, and how many of the second row are padding."""

N_BRANCHES = 6


def build(kind: str, *, seed: int) -> Any:
    """A random model of three blocks; the whole wrapper of a multimodal one."""
    import transformers

    made = (ARCHITECTURES | WRAPPERS)[kind]
    return build_from(getattr(transformers, made.config)(**made.settings), seed=seed, eager=made.eager)


def build_from(config: Any, *, seed: int, eager: bool = True) -> Any:
    import transformers

    torch.manual_seed(seed)
    mappings = (transformers.MODEL_FOR_CAUSAL_LM_MAPPING, transformers.MODEL_FOR_MULTIMODAL_LM_MAPPING)
    model_class: Any = next(mapping[type(config)] for mapping in mappings if type(config) in mapping)
    model = model_class._from_config(config, attn_implementation="eager" if eager else None)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms and biases begin as ones and zeros
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval().requires_grad_(False)


def rows(rng: np.random.Generator) -> Tensor:
    """Two random rows longer than the sliding windows; the second ends in padding."""
    tokens = torch.from_numpy(rng.integers(3, 250, (2, ROW)))
    tokens[1, ROW - PADDED :] = 0
    return tokens


@torch.inference_mode()
def plain(model: Any, tokens: Tensor, places: Places, sites: tuple[Site, ...]) -> dict[tuple[int, Site], Tensor]:
    """Every site of every layer, by plain hooks on the forward pass of the whole model, a row at a time."""
    found: dict[tuple[int, Site], Tensor] = {}
    paths = dict(zip(("post", "pre", "pre_linear"), places[1:], strict=True))
    handles = []
    for i, block in enumerate(model.get_submodule(places.blocks)):
        for site in sites:
            path, _, half = paths[site].partition(":")
            module = block.get_submodule(path)

            def keep(x: Tensor, key: tuple[int, Site] = (i, site), half: str = half) -> None:
                found[key] = (x.chunk(2, dim=-1)[int(half)] if half else x).clone()

            if site == "post":
                handles.append(module.register_forward_pre_hook(lambda _, args, keep=keep: keep(args[0])))
            else:
                handles.append(module.register_forward_hook(lambda _, args, y, keep=keep: keep(y)))
    model(input_ids=tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    return {key: x.reshape(*tokens.shape, -1).float() for key, x in found.items()}


def largest_difference(subject: Subject, model: Any, tokens: Tensor, places: Places) -> float:
    """Of all activations at all sites, relative to the largest of the layer and site.

    The rows are read together; the plain passes have the second one without its padding.
    """
    whole = plain(model, tokens[:1], places, subject.sites)
    short = plain(model, tokens[1:, : ROW - PADDED], places, subject.sites)
    worst = 0.0
    for (layer, site), true in whole.items():
        found = subject.activations(tokens, layer, site).float()
        for one, own in ((found[0], true[0]), (found[1, : ROW - PADDED], short[layer, site][0])):
            assert one.shape == own.shape
            worst = max(worst, float((one - own).abs().max() / own.abs().max()))
    return worst


def packed_difference(subject: Subject, model: Any, places: Places, rng: np.random.Generator) -> tuple[float, bool]:
    """Of branches of a row from plain passes of each, relative to the largest; and whether they ran side by side."""
    row = rng.integers(3, 250, ROW)
    branches: dict[int, list[tuple[int, list[int], int]]] = {}
    for _ in range(N_BRANCHES):
        layer, position, n = int(rng.integers(subject.n_layers)), int(rng.integers(1, ROW)), int(rng.integers(1, 4))
        own = [int(token) for token in rng.integers(3, 250, n)]
        branches.setdefault(layer, []).append((position, own, int(rng.integers(subject.d_mlp[layer]))))
    packed = Packed(subject)
    found = packed.activations(row, branches)
    worst = 0.0
    for layer, some in branches.items():
        shared = dict(packed.activations_of_rows(layer, [(row, some), (row, some[:1])]))  # two rows in one pass
        for asked, given in ((some, found[layer]), (some, shared[0]), (some[:1], shared[1])):
            for (position, own, neuron), value in zip(asked, np.split(given.flat, given.start[1:]), strict=True):
                tokens = torch.tensor([[*row[:position], *own]])
                true = plain(model, tokens, places, ("post",))[layer, "post"][0]
                difference = np.abs(true[position:, neuron].numpy() - value).max()
                worst = max(worst, float(difference / true.abs().max()))
    return worst, packed.packs


@torch.inference_mode()
def logit_difference(subject: Subject, model: Any, tokens: Tensor) -> float:
    """Of the logits of plain text from the whole model's, relative to the largest."""
    true, found = model(input_ids=tokens).logits, subject.model(input_ids=tokens).logits
    return float((found - true).abs().max() / true.abs().max())
