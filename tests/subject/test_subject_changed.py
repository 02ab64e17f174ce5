"""Changed activations: the layers above alone give what a whole pass gives, for every architecture and site."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from architecture_kinds import ARCHITECTURES, Places
from architecture_twins import build
from experts_twins import sparse_model
from subject_twins import numbered, tiny

from neurolocal.errors import SubjectError
from neurolocal.records import Site
from neurolocal.subject import Subject
from neurolocal.subject.changed import ChangeableLayer, Changes

DENSE = {name: kind for name, kind in ARCHITECTURES.items() if "moe" not in kind.config.lower()}

OFTEN = ("GPT-2", "GPT-NeoX (Pythia)", "BLOOM", "Llama", "Phi-3", "Gemma 3, text", "OLMo 2")
"""Tried in every run of the tests; the others are slow ones."""


@torch.inference_mode()
def slow(model: Any, row: np.ndarray, places: Places, layer: int, site: Site, changes: Changes) -> np.ndarray:
    """Log-probabilities after each change, by a plain hook and a whole pass of the row up to the change."""
    path, _, half = {"post": places.out, "pre": places.pre, "pre_linear": places.linear}[site].partition(":")
    module = model.get_submodule(places.blocks)[layer].get_submodule(path)
    found = []
    for position, neuron, value in zip(*changes, strict=True):

        def change(x: torch.Tensor, neuron=neuron, value=value) -> torch.Tensor:
            own = x.clone()
            if neuron >= 0:
                flat = own.reshape(-1, own.shape[-1])
                flat[-1, int(neuron) + (int(half) * own.shape[-1] // 2 if half else 0)] = float(value)
                own = flat.reshape(own.shape)
            return own

        if site == "post":
            handle = module.register_forward_pre_hook(lambda _, args, change=change: (change(args[0]), *args[1:]))
        else:
            handle = module.register_forward_hook(lambda _, args, y, change=change: change(y))
        logits = model(input_ids=torch.from_numpy(row[None, : position + 1]), use_cache=False).logits
        handle.remove()
        found.append(logits[0, -1].float().log_softmax(-1).numpy())
    return np.stack(found)


def drawn(rng: np.random.Generator, length: int, d_mlp: int, n: int = 12) -> Changes:
    return Changes(rng.integers(0, length, n), rng.integers(-1, d_mlp, n), rng.normal(0, 3, n).astype(np.float32))


def log_probs(layer: ChangeableLayer, row: np.ndarray, changes: Changes) -> np.ndarray:
    return torch.cat([part for _, part in layer.row(row).log_probs(changes)]).numpy()


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in OFTEN else [pytest.mark.slow]) for n in DENSE])
def test_equals_whole_passes_with_plain_hooks(name: str, own_cache, rng, caplog) -> None:
    model, places = build(name, seed=int(rng.integers(2**31))), DENSE[name].places
    model.config.architectures = [type(model).__name__]
    subject = Subject(model, numbered(260), name=name)
    row = rng.integers(3, 250, 30)
    for layer, site in ((0, "post"), (2, "post"), (1, subject.sites[-1])):
        if layer in subject.expert_layers:
            continue
        changes = drawn(rng, len(row), subject.d_mlp[layer])
        changeable = ChangeableLayer(subject, layer, site=site, changes=5)
        found, true = log_probs(changeable, row, changes), slow(model, row, places, layer, site, changes)
        assert np.abs(found - true).max() < 1e-3 * np.abs(true).max()
        assert changeable.skips or not DENSE[name].packs, caplog.text


def test_the_activations_are_those_of_the_row_and_the_model_is_left_as_it_was(own_cache, rng) -> None:
    subject = tiny("Llama", seed=int(rng.integers(2**31)))
    row = rng.integers(0, 97, 20)
    before = subject.activations(torch.from_numpy(row[None]), 1)[0]
    ran = ChangeableLayer(subject, 1).row(row)
    assert torch.allclose(ran.activations, before, atol=1e-5)
    list(ran.log_probs(drawn(rng, 20, 48)))
    assert torch.equal(subject.activations(torch.from_numpy(row[None]), 1)[0], before)
    assert not any("forward" in vars(module) for module in subject.model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in subject.model.modules())


def test_a_model_that_is_wrong_from_a_layer_on_runs_whole_passes(own_cache, rng, caplog) -> None:
    subject = tiny("Llama", seed=int(rng.integers(2**31)))
    block = subject.model.model.layers[0]
    plain = block.forward
    shift = torch.randn(32, generator=torch.Generator().manual_seed(1))
    subject.model.model.norm.register_forward_pre_hook(
        lambda _, args: (args[0] + shift * (args[0].shape[1] == 14),)  # depends on what else is in the pass
    )
    row = rng.integers(0, 97, 20)
    changes = drawn(rng, 20, 48, n=14)
    changeable = ChangeableLayer(subject, 1)
    with caplog.at_level(logging.WARNING):
        found = log_probs(changeable, row, changes)
    assert not changeable.skips
    assert "cannot run from layer 1 on" in caplog.text
    assert block.forward == plain
    assert found.shape == (14, 97)


def test_out_of_memory_halves_a_pass_and_loses_nothing(own_cache, rng, monkeypatch, caplog) -> None:
    subject = tiny("GPT2", seed=int(rng.integers(2**31)))
    row, changes = rng.integers(0, 97, 20), drawn(rng, 20, 48)
    true = log_probs(ChangeableLayer(subject, 1), row, changes)
    layer = ChangeableLayer(subject, 1)
    ran = layer.row(row)
    beside = ran._beside

    def little(some: Changes) -> torch.Tensor:
        if len(some.position) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return beside(some)

    monkeypatch.setattr(ran, "_beside", little)
    found = torch.cat([part for _, part in ran.log_probs(changes)]).numpy()
    assert layer.changes <= 3
    assert np.abs(found - true).max() < 1e-4
    assert "going on with" in caplog.text


def test_what_cannot_be_changed_is_refused(own_cache) -> None:
    subject = Subject(sparse_model("Mixtral"), numbered(97), name="experts")
    with pytest.raises(SubjectError, match="has experts"):
        ChangeableLayer(subject, 0)
    dense = tiny("Llama")
    dense.unembeds = False
    with pytest.raises(SubjectError, match="no unembedding"):
        ChangeableLayer(dense, 0)
