"""Tiny random models with experts, and a plain reference: layer by layer, a loop over positions and experts.

The reference hooks nothing and calls none of the experts modules' code: it computes every gate and product from the
weights, one position at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import silu

from neurolocal.subject.model import Subject
from neurolocal.subject.tokenizers import Tokenizer

VOCAB = 97
BASE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
DEEPSEEK = BASE | {
    "moe_intermediate_size": 16,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
    "num_key_value_heads": 4,
}

SPARSE: dict[str, dict[str, Any]] = {
    "Mixtral": BASE | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "Qwen2Moe": BASE
    | {
        "num_experts": 5,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 40,
        "mlp_only_layers": [1],
    },
    "Qwen3Moe": BASE | {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 8},
    "Olmoe": BASE | {"num_experts": 8, "num_experts_per_tok": 3, "intermediate_size": 24},
    "DeepseekV2": DEEPSEEK
    | {"n_routed_experts": 4, "n_shared_experts": 2, "q_lora_rank": None, "n_group": 1, "topk_group": 1},
    "DeepseekV3": DEEPSEEK
    | {"n_routed_experts": 8, "n_shared_experts": 1, "q_lora_rank": 16, "n_group": 2, "topk_group": 1},
    "GptOss": BASE | {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8, "sliding_window": 4},
    "Glm4Moe": BASE
    | {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
        "head_dim": 8,
    },
}
"""The settings of each kind's config. `Qwen2Moe` has a dense layer between two sparse ones; the DeepSeeks and `Glm4Moe`
begin with one; these four have a shared expert. `GptOss` has biases, interleaved halves and a gate of its own."""


def sparse_model(kind: str, *, seed: int = 0, larger: dict[str, Any] | None = None) -> Any:
    """A random causal language model of three layers."""
    import transformers

    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**SPARSE[kind] | (larger or {}))
    config.architectures = [f"{kind}ForCausalLM"]
    model = transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for name, weight in model.named_parameters():  # transformers begins routers and biases with zeros: all would tie
        if name.endswith(("mlp.gate.weight", "router.weight", "bias")):
            torch.nn.init.normal_(weight, std=0.3)
    return model


def sparse(kind: str, *, seed: int = 0, larger: dict[str, Any] | None = None) -> Subject:
    """The same as a subject, with a tokenizer of numbered words."""
    return Subject(sparse_model(kind, seed=seed, larger=larger), Tokenizer.numbered(VOCAB), name=f"tiny {kind}")


class PlainLayer(NamedTuple):
    """What the reference computes of one layer."""

    pre: np.ndarray
    """(batch, pos, d_mlp); NaN where a position is not routed to the neuron's expert."""
    pre_linear: np.ndarray
    post: np.ndarray
    routed: np.ndarray
    """(batch, pos, expert) bool; no expert for a dense layer."""


def plain_layers(model: Any, tokens: torch.Tensor) -> tuple[list[PlainLayer], torch.Tensor]:
    """Every layer's activations, and the hidden states at the end of the decoder body."""
    body, config = model.model, model.config
    with torch.inference_mode():
        h = body.embed_tokens(tokens)
        position = torch.arange(tokens.shape[1])[None]
        rotary = body.rotary_emb(h, position_ids=position)
        layers = []
        for i, layer in enumerate(body.layers):
            distance = position[0][:, None] - position[0][None]
            sees = distance >= 0
            if (getattr(config, "layer_types", None) or [""] * 9)[i] == "sliding_attention":
                sees &= distance < config.sliding_window
            mask = (
                torch.where(sees, 0.0, torch.finfo(h.dtype).min).to(h.dtype)[None, None].expand(len(tokens), -1, -1, -1)
            )
            attended = layer.self_attn(layer.input_layernorm(h), position_embeddings=rotary, attention_mask=mask)
            h = h + attended[0]
            found, added = plain_mlp(layer.mlp, layer.post_attention_layernorm(h), config.model_type)
            layers.append(found)
            h = h + added
        return layers, body.norm(h)


def plain_mlp(mlp: Any, x: torch.Tensor, kind: str) -> tuple[PlainLayer, torch.Tensor]:
    """One MLP, position by position and expert by expert."""
    if not hasattr(mlp, "experts"):
        pre, linear, post = plain_gated(mlp, x)
        none = np.zeros((*x.shape[:2], 0), bool)
        return PlainLayer(*(t.float().numpy() for t in (pre, linear, post)), none), post @ mlp.down_proj.weight.T
    experts = mlp.experts
    router = mlp.router if hasattr(mlp, "router") else mlp.gate
    _, weights, chosen = router(x.reshape(-1, x.shape[-1]))
    n, d = experts.down_proj.shape[0], experts.down_proj.shape[1 if kind == "gpt_oss" else 2]
    sites = np.full((3, x.shape[0] * x.shape[1], n, d), np.nan, np.float32)
    out = torch.zeros(x.shape[0] * x.shape[1], x.shape[2], dtype=torch.float64)
    for t, one in enumerate(x.reshape(-1, x.shape[-1])):
        for e, weight in zip(chosen[t].tolist(), weights[t].tolist(), strict=True):
            if kind == "gpt_oss":
                both = one @ experts.gate_up_proj[e] + experts.gate_up_proj_bias[e]
                pre, linear = both[0::2], both[1::2]
                gate = pre.clamp(max=experts.limit)
                post = (linear.clamp(-experts.limit, experts.limit) + 1) * gate * torch.sigmoid(experts.alpha * gate)
                made = post @ experts.down_proj[e] + experts.down_proj_bias[e]
            else:
                pre, linear = experts.gate_up_proj[e][:d] @ one, experts.gate_up_proj[e][d:] @ one
                post = silu(pre) * linear
                made = experts.down_proj[e] @ post
            out[t] += weight * made.double()
            sites[:, t, e] = torch.stack([pre, linear, post]).float().numpy()
    routed = ~np.isnan(sites[2, :, :, 0]).reshape(*x.shape[:2], n)
    wide = sites.reshape(3, *x.shape[:2], n * d)
    shared = next((getattr(mlp, a) for a in ("shared_expert", "shared_experts") if hasattr(mlp, a)), None)
    added = out.reshape(x.shape).to(x.dtype)
    if shared is not None:
        own = plain_gated(shared, x)
        wide = np.concatenate([wide, np.stack([t.float().numpy() for t in own])], axis=3)
        scale = torch.sigmoid(mlp.shared_expert_gate(x)) if hasattr(mlp, "shared_expert_gate") else 1.0
        added = added + scale * (own[2] @ shared.down_proj.weight.T)
    return PlainLayer(*wide, routed), added


def plain_gated(mlp: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gate, in projection and activation of a dense gated MLP."""
    pre, linear = x @ mlp.gate_proj.weight.T, x @ mlp.up_proj.weight.T
    return pre, linear, silu(pre) * linear


def sparse_folder(kind: str, folder: Path, *, tokenizer_from: Path, seed: int = 0) -> Path:
    """A Hugging Face folder of such a model, with a real tokenizer of 512 tokens."""
    sparse_model(kind, seed=seed, larger={"vocab_size": 512}).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tokenizer_from / name).read_bytes())
    return folder
