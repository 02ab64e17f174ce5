"""Tiny random models of many architectures, saved as a user's folder, and plain forward hooks to hold them against.

`PLACES` was read off transformers' own model code, not off TransformerLens's adapters, so the two can disagree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

VOCAB, D_MODEL, D_MLP, WINDOW, ROW = 258, 32, 48, 8, 40
"""The window is shorter than the rows, so that layers with one differ from layers without."""


class Places(NamedTuple):
    """Where an architecture's neurons are, relative to a block: paths that transformers' code names."""

    blocks: str
    """The list of blocks."""
    out: str
    """The out projection."""
    pre: str
    """The module whose output enters the activation function; `PATH:0` is the first half of it."""
    linear: str = ""
    """The module whose output is multiplied with it, in a gated MLP."""


class Architecture(NamedTuple):
    """A kind of model to build."""

    config: str
    """The class of its config in transformers."""
    places: Places
    """Where its neurons are."""
    settings: dict[str, Any]
    """Changes to the settings that most have."""
    packs: bool = True
    """Whether branches of a row can run side by side in it."""
    model: str = ""
    """The class of the model, where it is not the causal language model of the config."""


LLAMA = Places("model.layers", "mlp.down_proj", "mlp.gate_proj", "mlp.up_proj")
FUSED = Places("model.layers", "mlp.down_proj", "mlp.gate_up_proj:0", "mlp.gate_up_proj:1")
GPT = Places("transformer.h", "mlp.c_proj", "mlp.c_fc")
NEOX = Places("gpt_neox.layers", "mlp.dense_4h_to_h", "mlp.dense_h_to_4h")
BLOOM = Places("transformer.h", "mlp.dense_4h_to_h", "mlp.dense_h_to_4h")
FC = Places("model.layers", "mlp.fc2", "mlp.fc1")
OPT = Places("model.decoder.layers", "fc2", "fc1")
UP = Places("model.layers", "mlp.down_proj", "mlp.up_proj")

SIZES: dict[str, Any] = {
    "hidden_size": D_MODEL,
    "intermediate_size": D_MLP,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT_SIZES: dict[str, Any] = {
    "n_embd": D_MODEL, "n_layer": 3, "n_head": 4, "n_inner": D_MLP, "n_positions": 64, "vocab_size": VOCAB,
    "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MHA = {"num_key_value_heads": 4}
SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]
ROPE = {"rope_theta": 10000.0}
GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8}


def _llama(**settings: Any) -> Architecture:
    return Architecture("LlamaConfig", LLAMA, settings)


ARCHITECTURES: dict[str, Architecture] = {
    "GPT-2": Architecture("GPT2Config", GPT, GPT_SIZES),
    "GPT-Neo": Architecture("GPTNeoConfig", GPT, {
        "hidden_size": D_MODEL, "intermediate_size": D_MLP, "num_layers": 3, "num_heads": 4, "window_size": WINDOW,
        "attention_types": [[["global", "local", "global"], 1]],
    }, packs=False),
    "GPT-NeoX (Pythia)": Architecture("GPTNeoXConfig", NEOX, {}),
    "GPT-NeoX, sequential": Architecture("GPTNeoXConfig", NEOX, {"use_parallel_residual": False}),
    "GPT-J": Architecture("GPTJConfig", Places("transformer.h", "mlp.fc_out", "mlp.fc_in"), GPT_SIZES | {"rotary_dim": 4}),
    "GPTBigCode (SantaCoder)": Architecture("GPTBigCodeConfig", GPT, GPT_SIZES),
    "CodeGen": Architecture("CodeGenConfig", Places("transformer.h", "mlp.fc_out", "mlp.fc_in"), GPT_SIZES | {"rotary_dim": 4}),
    "OPT": Architecture("OPTConfig", OPT, {"ffn_dim": D_MLP, "word_embed_proj_dim": D_MODEL, "init_std": 0.2}),
    "OPT, norms behind (350M)": Architecture("OPTConfig", OPT, {"ffn_dim": D_MLP, "word_embed_proj_dim": 16, "init_std": 0.2, "do_layer_norm_before": False}),
    "BLOOM": Architecture("BloomConfig", BLOOM, {"n_layer": 3, "n_head": 4, "hidden_size": D_MODEL}, packs=False),
    "Falcon, rotary": Architecture("FalconConfig", BLOOM, {"ffn_hidden_size": D_MLP, "num_kv_heads": 1}),
    "Falcon, new layout": Architecture("FalconConfig", BLOOM, {"ffn_hidden_size": D_MLP, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "Falcon, ALiBi": Architecture("FalconConfig", BLOOM, {"ffn_hidden_size": D_MLP, "alibi": True, "parallel_attn": False, "multi_query": False}, packs=False),
    "MPT": Architecture("MptConfig", Places("transformer.blocks", "ffn.down_proj", "ffn.up_proj"), {"d_model": D_MODEL, "n_heads": 4, "n_layers": 3, "max_seq_len": 64}, packs=False),
    "Phi (1, 1.5, 2)": Architecture("PhiConfig", FC, MHA),
    "Phi-3": Architecture("Phi3Config", FUSED, {}),
    "Phi-3, sliding window": Architecture("Phi3Config", FUSED, {"sliding_window": WINDOW}),
    "Llama": _llama(),
    "Llama 3, scaled rope": _llama(rope_parameters=ROPE | {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}),
    "Llama, YaRN": _llama(rope_parameters=ROPE | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}),
    "Llama, linear rope": _llama(rope_parameters=ROPE | {"rope_type": "linear", "factor": 4.0}),
    "Llama, dynamic rope": _llama(rope_parameters=ROPE | {"rope_type": "dynamic", "factor": 4.0}, max_position_embeddings=64),
    "Llama, with biases": _llama(mlp_bias=True, attention_bias=True),
    "Mistral, sliding window": Architecture("MistralConfig", LLAMA, {"sliding_window": WINDOW}),
    "Mistral, full attention": Architecture("MistralConfig", LLAMA, {"sliding_window": None}),
    "Ministral": Architecture("MinistralConfig", LLAMA, {"layer_types": SLIDING, "sliding_window": WINDOW, "head_dim": 8}),
    "Ministral 3": Architecture("Ministral3Config", LLAMA, {"head_dim": 8}),
    "Qwen2": Architecture("Qwen2Config", LLAMA, {}),
    "Qwen2, sliding window": Architecture("Qwen2Config", LLAMA, {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    "Qwen3": Architecture("Qwen3Config", LLAMA, {"head_dim": 8}),
    "Gemma": Architecture("GemmaConfig", LLAMA, {"head_dim": 8, "num_key_value_heads": 1}),
    "Gemma 2": Architecture("Gemma2Config", LLAMA, GEMMA | {"sliding_window": WINDOW}),
    "Gemma 3, text": Architecture("Gemma3TextConfig", LLAMA, GEMMA | {"sliding_window": WINDOW, "layer_types": SLIDING}),
    "OLMo": Architecture("OlmoConfig", LLAMA, {}),
    "OLMo 2": Architecture("Olmo2Config", LLAMA, {}),
    "OLMo 3": Architecture("Olmo3Config", LLAMA, {"sliding_window": WINDOW, "layer_types": SLIDING}),
    "StableLM": Architecture("StableLmConfig", LLAMA, {}),
    "StableLM 2, parallel": Architecture("StableLmConfig", LLAMA, {"use_parallel_residual": True, "qk_layernorm": True}),
    "StarCoder2": Architecture("Starcoder2Config", GPT._replace(blocks="model.layers"), {"sliding_window": WINDOW}),
    "Cohere (Command R)": Architecture("CohereConfig", LLAMA, {}),
    "Cohere 2 (Command R7B)": Architecture("Cohere2Config", LLAMA, {"sliding_window": WINDOW, "layer_types": SLIDING}),
    "GLM": Architecture("GlmConfig", FUSED, {"head_dim": 8}),
    "GLM-4": Architecture("Glm4Config", FUSED, {"head_dim": 8}),
    "SmolLM3": Architecture("SmolLM3Config", LLAMA, {"no_rope_layers": [1, 0, 1]}),
    "Granite": Architecture("GraniteConfig", LLAMA, {"residual_multiplier": 0.5, "embedding_multiplier": 2.0, "attention_multiplier": 0.3, "logits_scaling": 4.0}),
    "Nemotron": Architecture("NemotronConfig", UP, {"head_dim": 8}),
    "Helium": Architecture("HeliumConfig", LLAMA, {"head_dim": 8}),
    "EXAONE 4": Architecture("Exaone4Config", LLAMA, {"sliding_window": WINDOW, "layer_types": SLIDING}),
    "ERNIE 4.5": Architecture("Ernie4_5Config", LLAMA, {"head_dim": 8}),
    "Seed-OSS": Architecture("SeedOssConfig", LLAMA, {"head_dim": 8}),
    "Arcee": Architecture("ArceeConfig", UP, {}),
    "Apertus": Architecture("ApertusConfig", UP, {}),
    "HunYuan, dense": Architecture("HunYuanDenseV1Config", LLAMA, {"head_dim": 8}),
    "nanochat": Architecture("NanoChatConfig", Places("model.layers", "mlp.fc2", "mlp.fc1"), {}),
    "Jais 2": Architecture("Jais2Config", UP, {"head_dim": 8}),
    "VaultGemma": Architecture("VaultGemmaConfig", LLAMA, GEMMA | {"sliding_window": WINDOW, "layer_types": SLIDING}),
    "XGLM": Architecture("XGLMConfig", Places("model.layers", "fc2", "fc1"), {"d_model": D_MODEL, "ffn_dim": D_MLP, "num_layers": 3, "attention_heads": 4, "init_std": 0.2}),
    "Persimmon": Architecture("PersimmonConfig", Places("model.layers", "mlp.dense_4h_to_h", "mlp.dense_h_to_4h"), {}),
    "GPT (the first)": Architecture("OpenAIGPTConfig", GPT, GPT_SIZES),
    "BioGPT": Architecture("BioGptConfig", Places("biogpt.layers", "fc2", "fc1"), {}),
    "CWM": Architecture("CwmConfig", LLAMA, {"head_dim": 8, "sliding_window": WINDOW, "layer_types": SLIDING}),
    "Youtu": Architecture("YoutuConfig", LLAMA, {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8, "num_key_value_heads": 4}),
    "ModernBERT decoder": Architecture("ModernBertDecoderConfig", Places("model.layers", "mlp.Wo", "mlp.Wi:0", "mlp.Wi:1"), {"local_attention": WINDOW}),
    "DiffLlama": Architecture("DiffLlamaConfig", LLAMA, {}),
    "Doge": Architecture("DogeConfig", LLAMA, {}),
    "LFM2": Architecture("Lfm2Config", Places("model.layers", "feed_forward.w2", "feed_forward.w1", "feed_forward.w3"), {"layer_types": ["full_attention", "conv", "full_attention"]}),
    "MiniCPM3": Architecture("MiniCPM3Config", LLAMA, {}),
    "Granite SWA": Architecture("GraniteSWAConfig", LLAMA, {}),
    "Mellum": Architecture("MellumConfig", LLAMA, {}),
    "HyperCLOVA X": Architecture("HyperCLOVAXConfig", LLAMA, {}),
    "Falcon-H1": Architecture("FalconH1Config", LLAMA, {}),
    "BitNet": Architecture("BitNetConfig", LLAMA, {}),
}


def build(kind: str, *, seed: int, eager: bool = False) -> Any:
    """A random model of three blocks."""
    import transformers

    made = ARCHITECTURES[kind]
    torch.manual_seed(seed)
    config = getattr(transformers, made.config)(**SIZES | made.settings)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager" if eager else None)
    model.config.architectures = [type(model).__name__]
    for name, parameter in model.named_parameters():  # norms and biases that are not ones and zeros
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval().requires_grad_(False)
