"""What the tests of this room share: tiny random models, folders of them on disk, and TransformerLens's own forward."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from neurolocal.records import Site
from neurolocal.subject.model import Subject
from neurolocal.subject.tokenizers import Tokenizer

VOCAB, D_MLP, D_MODEL = 97, 48, 32

LLAMA = {
    "hidden_size": D_MODEL,
    "intermediate_size": D_MLP,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
GPT = {
    "n_embd": D_MODEL,
    "n_layer": 2,
    "n_head": 4,
    "n_inner": D_MLP,
    "n_positions": 64,
    "vocab_size": VOCAB,
    "initializer_range": 0.2,
}
WITHOUT_KV = {name: value for name, value in LLAMA.items() if name != "num_key_value_heads"}

SETTINGS: dict[str, dict[str, Any]] = {
    "GPT2": GPT,
    "GPTJ": GPT | {"rotary_dim": 4},
    "GPTNeoX": WITHOUT_KV,
    "Llama": LLAMA,
    "Gemma": LLAMA | {"num_key_value_heads": 1, "head_dim": 8},
    "Qwen2": LLAMA,
    "Phi": WITHOUT_KV,
    "Phi3": LLAMA | {"pad_token_id": 0},
    "Gemma2": LLAMA | {"head_dim": 8, "query_pre_attn_scalar": 8, "attn_logit_softcapping": None},
    "Olmo2": LLAMA,
    "OPT": WITHOUT_KV | {"word_embed_proj_dim": D_MODEL, "ffn_dim": D_MLP, "init_std": 0.2},
}
"""The settings of each kind's Hugging Face config; `Gemma` has GeGLU, `Phi3` gate and in projection in one module,
`Gemma2` and `Olmo2` a norm behind the MLP."""

GATED = ("Llama", "Gemma", "Qwen2", "Phi3", "Gemma2", "Olmo2")
"""The kinds with a gate."""


def tiny_model(kind: str, *, seed: int = 0, eager: bool = False, larger: dict[str, Any] | None = None) -> Any:
    """A random two-layer causal language model; `larger` changes its settings."""
    import transformers

    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**SETTINGS[kind] | (larger or {}))
    config.architectures = ["GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"]
    how = "eager" if eager else None
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation=how).eval().requires_grad_(False)


def numbered(n: int = VOCAB) -> Tokenizer:
    """A tokenizer whose id i is the word `wi`."""
    return Tokenizer.numbered(n)


def tiny(kind: str, *, seed: int = 0) -> Subject:
    """The same as a subject, with a tokenizer of numbered words."""
    return Subject(tiny_model(kind, seed=seed), numbered(), name=f"tiny {kind}")


HOOKS: dict[Site, str] = {"post": "hook_post", "pre": "hook_pre", "pre_linear": "hook_pre_linear"}
"""TransformerLens's hook of each site, below `blocks.{layer}.mlp`."""


def bridge_activations(model: Any, tokens: torch.Tensor, site: Site = "post") -> list[torch.Tensor]:
    """A site's activations in every layer, by TransformerLens itself, on a copy of the model."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    own = copy.deepcopy(model)
    bridge = build_bridge_from_module(own, own.config.architectures[0], hf_config=own.config)
    names = [f"blocks.{layer}.mlp.{HOOKS[site]}" for layer in range(bridge.cfg.n_layers)]
    with torch.inference_mode():
        _, cache = bridge.run_with_cache(tokens, names_filter=lambda name: name in names)
    return [cache[name].reshape(*tokens.shape, -1).float() for name in names]


def save_folder(model: Any, folder: Path) -> Path:
    """A Hugging Face folder of the model, with a tokenizer of numbered words."""
    model.save_pretrained(folder)
    numbered(model.config.get_text_config().vocab_size).save(folder)
    return folder
