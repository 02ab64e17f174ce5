"""On SoLU models the notebook's substitutes are read at hook_post of TransformerLens's own folded model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from perturbation_twins import ToyVectors

from neurolocal.perturbation import notebook_perturbation
from neurolocal.perturbation.notebook_site import notebook_site
from neurolocal.records import Example
from neurolocal.subject import load_subject
from neurolocal.subject.packed import Packed

sys.path.append(str(Path(__file__).parents[1] / "subject"))
from legacy_twins import CONFIG, bridge_site, native_bridge, random_weights, write_legacy

WORDS = ["dog", "cat", "ball", "tree", "a", "s", "it", "the"]


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return random_weights(CONFIG, seed=int.from_bytes(np.random.default_rng().bytes(3), "little"))


@pytest.fixture(scope="module")
def solu(weights, fixtures, tmp_path_factory):
    folder = write_legacy(tmp_path_factory.mktemp("solu"), CONFIG, weights, tokenizer_from=fixtures / "stories260k")
    return load_subject(folder, device="cpu")


def folded(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same model with each MLP's norm folded into the out projection, as TransformerLens folded it."""
    found = dict(weights)
    for layer in range(CONFIG["n_layers"]):
        mlp = f"blocks.{layer}.mlp"
        w, b, out = (weights[f"{mlp}.{name}"] for name in ("ln.w", "ln.b", "W_out"))
        found |= {
            f"{mlp}.ln.w": torch.ones_like(w), f"{mlp}.ln.b": torch.zeros_like(b),
            f"{mlp}.W_out": w[:, None] * out, f"{mlp}.b_out": weights[f"{mlp}.b_out"] + b @ out,
        }  # fmt: skip
    return found


def folded_post(weights, tokens: torch.Tensor, layer: int) -> torch.Tensor:
    """`hook_post` in TransformerLens's own forward pass of the folded model."""
    return bridge_site(native_bridge(CONFIG, folded(weights)), tokens, "post")[layer]


def test_equals_transformer_lens_folded_model(solu, weights, rng) -> None:
    tokens = torch.from_numpy(rng.integers(0, 512, (3, 20)))
    for layer in (0, 1):
        before = solu.activations(tokens, layer, "post")
        with notebook_site(solu, layer, "mid") as site:
            found = solu.activations(tokens, layer, site)
        true = folded_post(weights, tokens, layer)
        assert torch.allclose(found, true, atol=1e-4 * float(true.abs().max()))
        assert not torch.allclose(before, true, atol=1e-2), "the norm's weights must matter"
        assert torch.equal(solu.activations(tokens, layer, "post"), before), "the subject is as it was"


@pytest.mark.parametrize("stored", ["mid", "post"])
def test_the_notebooks_loop_on_solu(stored, solu, weights, rng) -> None:
    """Each substitute alone after BOS through TransformerLens's folded model, one call each."""
    layer, neuron = 1, int(rng.integers(48))
    ids = np.array([solu.bos, *solu.encode(["dog it the"])[0]], np.int64)
    token = solu.vocabulary.str_tokens(ids)[1]
    vectors = ToyVectors({w: rng.normal(size=5) for w in [*WORDS, token]})
    example = Example(0, 7, 1, 0.01, 0, ids, np.array([0, 0.01, *[0] * (len(ids) - 2)], np.float32))
    with notebook_site(solu, layer, stored) as site:
        table = notebook_perturbation({neuron: [example]}, Packed(solu, site=site), vectors, layer)
    checked = 0
    for word, activation in zip(table.substitutes.word[1:], table.substitutes.activation[1:], strict=True):
        row = [solu.bos, *solu.encode([word])[0]]
        values = folded_post(weights, torch.tensor([row]), layer)[0, :, neuron]
        at = int(values.argmax())
        if solu.tokenizer.decode([row[at]]) == word:
            assert activation == pytest.approx(float(values[at]), rel=1e-3, abs=1e-4)
            checked += 1
        else:
            assert np.isnan(activation)
    assert len(table.substitutes.word) == 6
    assert checked or not np.isfinite(table.substitutes.activation[1:]).any()


def test_other_models_are_read_where_the_store_was(small) -> None:
    for site in ("post", "pre"):
        with notebook_site(small.subject, 0, site) as found:
            assert found == site
