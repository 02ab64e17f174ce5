"""TransformerLens's own kinds of models as a GPT-2 body equal TransformerBridge."""

from __future__ import annotations

import pytest
import torch
from checkpoint_twins import assert_equals_the_bridge, seed
from legacy_twins import CONFIG, native_bridge, random_weights, write_legacy

from neurolocal.subject import load_subject


@pytest.mark.parametrize(
    "changes",
    [
        {"act_fn": "gelu"},
        {"act_fn": "gelu_new", "final_rms": True},
        {"act_fn": "solu", "normalization": "LNPre"},
        {"act_fn": "relu", "normalization": "RMS"},
        {"act_fn": "silu", "normalization": "RMSPre"},
        {"normalization": None},
    ],
)
def test_every_kind_equals_the_bridge(changes, stories, tmp_path, own_cache, rng) -> None:
    config = CONFIG | changes
    weights = random_weights(config, seed=seed(rng))
    folder = write_legacy(tmp_path / "model", config, weights, tokenizer_from=stories)
    subject = load_subject(folder, device="cpu")
    assert subject.sites == (("post", "mid", "pre") if config["act_fn"] == "solu_ln" else ("post", "pre"))
    bridge = native_bridge(config, weights)
    assert_equals_the_bridge(subject, bridge, rng)
    tokens = torch.from_numpy(rng.integers(0, 512, (2, 9)))
    with torch.inference_mode():
        true, found = bridge(tokens), subject.model(tokens).logits + weights["unembed.b_U"]  # which nothing here reads
    assert (true - found).abs().max() < 1e-5 * true.abs().max()
