"""The SHA-256 names weights and config; missing tensors are refused, except the unembedding."""

from __future__ import annotations

from pathlib import Path

import torch
from load_twins import refusal

from neurolocal.subject import load_subject
from neurolocal.subject.weights import weights_sha256


def test_weights_that_lack_a_tensor_are_refused(folder: Path) -> None:
    """transformers would draw the missing ones at random and warn; every activation would then mean nothing."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("model.layers.3.mlp.up_proj.weight")
    save_file(tensors, path, metadata={"format": "pt"})
    text = refusal(folder)
    assert "lack 1 tensors (model.layers.3.mlp.up_proj.weight)" in text
    assert "Check that the folder or file is whole" in text


def test_weights_that_lack_only_the_unembedding_will_do(folder: Path, fixtures) -> None:
    """Nothing here computes logits."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("lm_head.weight")
    save_file(tensors, path, metadata={"format": "pt"})
    tokens = torch.arange(3, 20)[None]
    true = load_subject(fixtures / "stories260k", device="cpu").activations(tokens, 4)
    assert torch.equal(load_subject(folder, device="cpu").activations(tokens, 4), true)


def test_the_hash_names_weights_and_config(folder: Path) -> None:
    before = weights_sha256(folder)
    assert weights_sha256(folder) == before
    (folder / "notes.txt").write_text("not part of the model")
    assert weights_sha256(folder) == before
    for name in ("config.json", "model.safetensors"):
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert weights_sha256(folder) != before, f"a change of {name} went unseen"
        path.write_bytes(whole)
