"""FP8 folders equal a plain loop over their blocks, cut-off blocks included; other methods are refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architecture_kinds import LLAMA
from architecture_twins import build_from, largest_difference, rows
from load_twins import refusal
from subject_twins import save_folder
from torch import Tensor
from transformers import LlamaConfig

from neurolocal.subject import load_subject
from neurolocal.subject.logits import why_no_logit_effects
from neurolocal.subject.quantised import PACKAGES, quantisation

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def llama(hidden: int, inner: int, *, seed: int) -> Any:
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=260,
        max_position_embeddings=64,
        initializer_range=0.1,
    )
    return build_from(config, seed=seed)


def in_blocks(weight: Tensor, rows: int, columns: int, *, power: bool) -> tuple[Tensor, Tensor, Tensor]:
    """FP8 weights, the scale of each block, and what they stand for: a plain loop."""
    height, width = weight.shape
    packed = torch.empty(weight.shape, dtype=torch.float8_e4m3fn)
    true = torch.empty(weight.shape)
    scales = torch.empty(-(-height // rows), -(-width // columns))
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            at = np.s_[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            weight[at] *= 4.0 ** torch.randint(-2, 3, ()).item()  # blocks of very different sizes
            scale = weight[at].abs().amax() / 448
            scales[i, j] = 2.0 ** scale.log2().ceil() if power else scale
            packed[at] = (weight[at] / scales[i, j]).to(torch.float8_e4m3fn)
            true[at] = packed[at].float() * scales[i, j]
    return packed, scales, true


def quantise(folder: Path, model: Any, block: tuple[int, int] | None, *, method: str = "fp8") -> None:
    """Rewrite a folder's projections in FP8, and give the model the weights that they stand for."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    for name, module in model.named_modules():
        if name.endswith(PROJECTIONS):
            size = tuple(module.weight.shape) if block is None else block
            packed, scales, true = in_blocks(tensors[f"{name}.weight"], *size, power=method == "mxfp8")
            if method == "mxfp8":
                scales = (scales.log2() + 127).to(torch.uint8)
            module.weight.data = true
            scales = scales.reshape(()) if block is None else scales
            tensors |= {f"{name}.weight": packed, f"{name}.weight_scale_inv": scales}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder, quant_method=method, activation_scheme="dynamic", weight_block_size=block)


def change(folder: Path, **settings: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))


@pytest.mark.parametrize(
    ("hidden", "inner", "block", "method"),
    [
        (128, 256, (128, 128), "fp8"),
        (192, 320, (128, 128), "fp8"),  # transformers alone: 30 % off
        (160, 136, (128, 128), "fp8"),
        (64, 96, (128, 128), "fp8"),
        (96, 80, (32, 64), "fp8"),
        (64, 96, None, "fp8"),
        (64, 96, (1, 32), "mxfp8"),
        (80, 112, (1, 32), "mxfp8"),
    ],
)
def test_fp8_equals_a_plain_loop(hidden: int, inner: int, block, method: str, tmp_path, own_cache, rng) -> None:
    model = llama(hidden, inner, seed=int(rng.integers(2**31)))
    folder = save_folder(model, tmp_path / "model")
    quantise(folder, model, block, method=method)
    subject = load_subject(folder, device="cpu")
    assert quantisation(subject.model.config) is None, "a plain model now"
    for name, true in model.state_dict().items():
        assert torch.allclose(subject.model.state_dict()[name], true, rtol=1e-6, atol=0), name
    assert largest_difference(subject, model, rows(rng), LLAMA) < 1e-4
    assert why_no_logit_effects(subject) is None
    half = load_subject(folder, device="cpu", dtype="bfloat16")
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    assert {buffer.dtype for buffer in half.model.buffers()} == {torch.float32}, "positions are computed in float32"


def test_transformers_alone_is_still_wrong(tmp_path, own_cache, rng, monkeypatch) -> None:
    """If this fails, `quantised._fp8_blocks` can go."""
    from neurolocal.subject import quantised

    model = llama(192, 256, seed=int(rng.integers(2**31)))
    folder = save_folder(model, tmp_path / "model")
    quantise(folder, model, (128, 128))
    monkeypatch.setattr(quantised, "_fp8_blocks", lambda size, original, dtype: original)
    found = load_subject(folder, device="cpu").model.model.layers[0].mlp.down_proj.weight
    true = model.model.layers[0].mlp.down_proj.weight
    assert (found != true).any(dim=1).nonzero().flatten().tolist() == list(range(96, 128))


def test_transformers_is_left_as_it_was(tmp_path, own_cache, rng) -> None:
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    before = Fp8Dequantize._dequantize_one
    model = llama(64, 96, seed=0)
    folder = save_folder(model, tmp_path / "model")
    quantise(folder, model, (128, 128))
    load_subject(folder, device="cpu")
    (folder / "model.safetensors").write_bytes(b"")
    refusal(folder)
    assert Fp8Dequantize._dequantize_one is before


@pytest.mark.parametrize("method", [*PACKAGES, "nf4"])
def test_what_needs_a_package_says_which(method: str, tmp_path, own_cache, monkeypatch) -> None:
    from neurolocal.subject import quantised

    folder = save_folder(llama(64, 96, seed=0), tmp_path / "model")
    settings = {"load_in_4bit": True} if method == "nf4" else {"quant_method": method, "bits": 4}
    change(folder, **settings)
    monkeypatch.setattr(quantised, "_installed", lambda package: False)
    text = refusal(folder)
    method, package = ("bitsandbytes", "bitsandbytes") if method == "nf4" else (method, PACKAGES[method][0])
    assert f"its weights are quantised by {method}, for which the package {package} is not installed" in text
    assert "or give the model unquantised or as a GGUF" in text


@pytest.mark.parametrize("method", ["no-such-method", 7, None, "fbgemm_fp8", "bitnet", "higgs", "nvfp4", "eetq"])
def test_what_cannot_be_read_here_says_why(method: Any, tmp_path, own_cache) -> None:
    folder = save_folder(llama(64, 96, seed=0), tmp_path / "model")
    change(folder, quant_method=method)
    text = refusal(folder)
    assert "quantised by" in text
    assert str(method) in text


@pytest.mark.parametrize(
    "settings", [{"weight_block_size": "wide"}, {"weight_block_size": [0, 1]}, {"weight_block_size": [2]}]
)
def test_a_damaged_quantisation(settings: dict[str, Any], tmp_path, own_cache) -> None:
    folder = save_folder(llama(64, 96, seed=0), tmp_path / "model")
    change(folder, quant_method="fp8", **settings)
    assert str(folder) in refusal(folder)


@pytest.mark.parametrize("there", ["words", 7, []])
def test_a_quantisation_that_is_no_mapping(there: Any, tmp_path, own_cache) -> None:
    folder = save_folder(llama(64, 96, seed=0), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": there}))
    assert str(folder) in refusal(folder)


def test_compressed_tensors_come_out_plain_where_the_package_is_there(tmp_path, own_cache, rng) -> None:
    from safetensors.torch import load_file, save_file

    pytest.importorskip("compressed_tensors")
    model = llama(64, 96, seed=int(rng.integers(2**31)))
    folder = save_folder(model, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    for name, module in model.named_modules():
        if name.endswith(PROJECTIONS):
            scale = module.weight.abs().amax(dim=1, keepdim=True) / 127
            packed = (module.weight / scale).round().to(torch.int8)
            module.weight.data = packed.float() * scale
            tensors |= {f"{name}.weight": packed, f"{name}.weight_scale": scale}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    weights = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
    change(
        folder,
        quant_method="compressed-tensors",
        format="int-quantized",
        quantization_status="compressed",
        ignore=["lm_head"],
        config_groups={"group_0": {"targets": ["Linear"], "weights": weights}},
    )
    subject = load_subject(folder, device="cpu")
    assert why_no_logit_effects(subject) is None
    assert largest_difference(subject, model, rows(rng), LLAMA) < 1e-4
