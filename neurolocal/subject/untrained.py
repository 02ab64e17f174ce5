"""A model's folder -> another one in the cache, of the same architecture, whose weights were never trained.

Invariant: a seed draws the same weights whatever dtype they are loaded in: they are rounded to bfloat16, which float32
holds exactly. They are drawn as the architecture's own code does before training (transformers' `_init_weights`; for
TransformerLens's own models, normal with 0.8 / sqrt(d_model), as its `init_weights`).
Cost: once a seed; memory of 4 bytes a weight, disk of 2.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from neurolocal.config import sha256 as hash_of
from neurolocal.files import appearing, cache_folder
from neurolocal.subject.legacy import legacy_config, legacy_shapes
from neurolocal.subject.pretrained import model_config, without_weights

if TYPE_CHECKING:
    import torch

VERSION = 1
"""Counts the ways in which weights were drawn; part of what names them."""


def untrained_sha256(sha256: str, *, seed: int) -> str:
    """What names the untrained weights of a model."""
    return hash_of(["untrained", VERSION, seed, sha256])


def untrained_folder(folder: Path, sha256: str, *, seed: int) -> Path:
    """The folder with untrained weights, made if it is not in the cache. It holds no tokenizer.

    Args:
        folder: the model's.
        sha256: what names the trained model.
        seed: of the weights.

    Raises:
        SubjectError: the model's config cannot be read.
    """
    there = cache_folder("subjects") / untrained_sha256(sha256, seed=seed)
    if not (there / "config.json").is_file():
        with appearing(there, "config.json") as beside:
            _draw(folder, beside, seed)
    return there


def _draw(folder: Path, beside: Path, seed: int) -> None:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if legacy_config(folder) is None:
            without_weights(model_config(folder), folder).to(torch.bfloat16).save_pretrained(str(beside))
            return
        d_model, shapes = legacy_shapes(folder)
        weights = {name: _normal(name, shape, 0.8 / d_model**0.5) for name, shape in shapes.items()}
    torch.save(weights, beside / "untrained.pth")
    shutil.copyfile(folder / "config.json", beside / "config.json")


def _normal(name: str, shape: tuple[int, ...], scale: float) -> torch.Tensor:
    """Matrices are drawn; scales of norms are 1, biases 0."""
    import torch

    if name.endswith(".w"):
        return torch.ones(shape, dtype=torch.bfloat16)
    if "W_" not in name:
        return torch.zeros(shape, dtype=torch.bfloat16)
    return (scale * torch.randn(shape)).to(torch.bfloat16)
