"""Branches side by side equal plain passes, on TransformerLens's own models."""

from __future__ import annotations

import numpy as np
import torch
from checkpoint_twins import seed
from legacy_twins import CONFIG, random_weights, write_legacy

from neurolocal.subject import load_subject


def test_branches_side_by_side(stories, tmp_path, own_cache, rng) -> None:
    from neurolocal.subject.packed import Packed

    weights = random_weights(CONFIG, seed=seed(rng))
    subject = load_subject(write_legacy(tmp_path / "m", CONFIG, weights, tokenizer_from=stories), device="cpu")
    row = rng.integers(0, 512, 20)
    packed = Packed(subject, site="mid")
    branches = [(int(p), [int(t)], int(n)) for p, t, n in rng.integers([1, 0, 0], [20, 512, 48], (12, 3))]
    found = packed.activations(row, {1: branches})[1].flat
    assert packed.packs
    for value, (position, own, neuron) in zip(found, branches, strict=True):
        whole = torch.from_numpy(np.concatenate([row[:position], own]))[None]
        true = subject.activations(whole, 1, "mid")
        assert abs(float(true[0, -1, neuron]) - value) < 1e-4 * float(true.abs().max())
