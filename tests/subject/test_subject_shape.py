"""The shape of a model from its config, against the model itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

from neurolocal.errors import SubjectError
from neurolocal.subject.shape import block_path, shape_of, subject_shape

SMALL = {
    "llama": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
              "intermediate_size": 48, "vocab_size": 64},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64, "n_positions": 64},
    "gpt_neox": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
                 "vocab_size": 64},
    "mixtral": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
                "intermediate_size": 48, "vocab_size": 64, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
                  "moe_intermediate_size": 24, "intermediate_size": 48, "vocab_size": 64, "num_experts": 4,
                  "num_experts_per_tok": 1, "head_dim": 16},
}  # fmt: skip


@pytest.mark.parametrize("kind", SMALL)
def test_products_are_those_that_torch_counts(kind: str) -> None:
    """torch's own counter, over a real pass of the decoder body, without attention's products."""
    from torch.utils.flop_counter import FlopCounterMode

    shape = shape_of({"model_type": kind, **SMALL[kind]}, kind)
    config = transformers.AutoConfig.for_model(kind, **SMALL[kind])
    config._experts_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.base_model(input_ids=torch.zeros((1, 16), dtype=torch.long), use_cache=False)
    products = {"mm", "addmm", "linear", "_grouped_mm"}
    counted = sum(n for op, n in counter.get_flop_counts()["Global"].items() if str(op).split(".")[-1] in products)
    ours = 2 * 16 * sum(layer.multiplications for layer in shape.layers)
    assert ours == pytest.approx(counted, rel=0.01)


def test_a_folder_needs_its_config_alone(fixtures: Path, tmp_path: Path) -> None:
    from neurolocal.subject import load_subject

    (tmp_path / "config.json").write_bytes((fixtures / "stories260k" / "config.json").read_bytes())
    shape, real = subject_shape(tmp_path), load_subject(fixtures / "stories260k", device="cpu")
    assert shape.d_mlp == real.d_mlp
    assert (shape.d_vocab, shape.gated, shape.n_ctx) == (real.d_vocab, real.gated, real.n_ctx)
    assert shape.parameters == sum(p.numel() for p in real.model.parameters())
    assert subject_shape(tmp_path / "config.json").parameters == shape.parameters


def test_a_gguf_is_read_by_its_header(fixtures: Path) -> None:
    found = subject_shape(fixtures / "stories260k" / "stories260K.gguf")
    assert found.d_mlp == subject_shape(fixtures / "stories260k").d_mlp


def test_windows_and_linear_layers() -> None:
    settings = SMALL["llama"] | {"model_type": "gemma2", "head_dim": 8, "sliding_window": 7}
    assert [layer.window for layer in shape_of(settings, "gemma").layers] == [7, None]


def test_the_path_of_a_block() -> None:
    assert block_path("model.layers.0.mlp.down_proj") == "model.layers.0"
    assert block_path("transformer.h.11.mlp.c_proj") == "transformer.h.11"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "model_type"),
        (json.dumps({"model_type": "no such"}), "transformers cannot build it"),
        (json.dumps({"model_type": "llama", "num_hidden_layers": 10**9}), "1 to 2,000"),
        (json.dumps({"model_type": "llama", "hidden_size": "wide"}), "planning for"),
    ],
)
def test_a_broken_config_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SubjectError, match=said):
        subject_shape(tmp_path)
