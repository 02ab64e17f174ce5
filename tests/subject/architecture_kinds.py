"""The architectures that are held against plain forward hooks: their configs, and where their neurons are.

The places were read off transformers' own model code, not off TransformerLens's adapters, so that the two can disagree.
"""

from __future__ import annotations

from typing import Any, NamedTuple

VOCAB, D_MODEL, D_MLP, WINDOW = 260, 32, 48, 8
"""The window of layers with a sliding one is shorter than the rows of the tests."""


class Places(NamedTuple):
    """Where an architecture's neurons are, in the paths of transformers' code."""

    blocks: str
    """The list of blocks; the others are inside a block."""
    out: str
    """The out projection, whose input is `post`."""
    pre: str
    """The module whose output is `pre`; with `:0` at its end, the first half of its output; empty if not offered."""
    linear: str = ""
    """The same of `pre_linear`, in a gated MLP."""


class Kind(NamedTuple):
    """A kind of model to build."""

    config: str
    """The class of its config in transformers."""
    places: Places
    """Where its neurons are."""
    settings: dict[str, Any]
    """Of its config."""
    packs: bool = True
    """Whether branches of a row run side by side; without, plain batches are run."""
    eager: bool = True
    """Whether to compare with eager attention."""


def _blocks(places: Places, blocks: str) -> Places:
    return places._replace(blocks=blocks)


LLAMA = Places("model.layers", "mlp.down_proj", "mlp.gate_proj", "mlp.up_proj")
FUSED = Places("model.layers", "mlp.down_proj", "mlp.gate_up_proj:0", "mlp.gate_up_proj:1")
UP = Places("model.layers", "mlp.down_proj", "mlp.up_proj")
FC = Places("model.layers", "mlp.fc2", "mlp.fc1")
GPT = Places("transformer.h", "mlp.c_proj", "mlp.c_fc")
GPTJ = Places("transformer.h", "mlp.fc_out", "mlp.fc_in")
NEOX = Places("gpt_neox.layers", "mlp.dense_4h_to_h", "mlp.dense_h_to_4h")
OPT = Places("model.decoder.layers", "fc2", "fc1")
MODERN = Places("model.layers", "mlp.Wo", "")
LFM2 = Places("model.layers", "feed_forward.w2", "feed_forward.w1", "feed_forward.w3")

IDS = {"vocab_size": VOCAB, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES: dict[str, Any] = IDS | {
    "hidden_size": D_MODEL,
    "intermediate_size": D_MLP,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
GPT_SIZES: dict[str, Any] = IDS | {
    "n_embd": D_MODEL,
    "n_layer": 3,
    "n_head": 4,
    "n_inner": D_MLP,
    "n_positions": 64,
    "initializer_range": 0.2,
}
NEO = {"num_layers": 3, "num_heads": 4, "window_size": WINDOW, "attention_types": [[["global", "local", "global"], 1]]}
OPT_SIZES = SIZES | {"ffn_dim": D_MLP, "word_embed_proj_dim": D_MODEL, "init_std": 0.2}
FALCON = SIZES | {"ffn_hidden_size": D_MLP}
MPT = IDS | {"d_model": D_MODEL, "n_heads": 4, "n_layers": 3, "max_seq_len": 64}
XGLM = IDS | {"d_model": D_MODEL, "ffn_dim": D_MLP, "num_layers": 3, "attention_heads": 4, "init_std": 0.2}
BLOOM = IDS | {"n_layer": 3, "n_head": 4, "hidden_size": D_MODEL}
HEADS = SIZES | {"head_dim": 8}
ROPE = {"rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = ROPE | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
NEAR = {"sliding_window": WINDOW}
MIXED = NEAR | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
GEMMA = HEADS | {"query_pre_attn_scalar": 8}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
GRANITE = {"residual_multiplier": 0.5, "embedding_multiplier": 2.0, "attention_multiplier": 0.3, "logits_scaling": 4.0}

ARCHITECTURES: dict[str, Kind] = {
    "GPT": Kind("OpenAIGPTConfig", GPT, GPT_SIZES, packs=False),
    "GPT-2": Kind("GPT2Config", GPT, GPT_SIZES),
    "GPT-Neo": Kind("GPTNeoConfig", GPT, SIZES | NEO, packs=False),
    "GPT-NeoX (Pythia)": Kind("GPTNeoXConfig", NEOX, SIZES),
    "GPT-NeoX, sequential": Kind("GPTNeoXConfig", NEOX, SIZES | {"use_parallel_residual": False}),
    "GPT-J": Kind("GPTJConfig", GPTJ, GPT_SIZES | {"rotary_dim": 4}),
    "GPTBigCode": Kind("GPTBigCodeConfig", GPT, GPT_SIZES),
    "CodeGen": Kind("CodeGenConfig", GPTJ, GPT_SIZES | {"rotary_dim": 4}),
    "OPT": Kind("OPTConfig", OPT, OPT_SIZES),
    "OPT-350M": Kind("OPTConfig", OPT, OPT_SIZES | {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "XGLM": Kind("XGLMConfig", _blocks(OPT, "model.layers"), XGLM),
    "BLOOM": Kind("BloomConfig", _blocks(NEOX, "transformer.h"), BLOOM, packs=False),
    "Falcon": Kind("FalconConfig", _blocks(NEOX, "transformer.h"), FALCON),
    "Falcon, 40B's layout": Kind(
        "FalconConfig", _blocks(NEOX, "transformer.h"), FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2}
    ),
    "Falcon, ALiBi": Kind(
        "FalconConfig",
        _blocks(NEOX, "transformer.h"),
        FALCON | {"alibi": True, "parallel_attn": False, "multi_query": False},
        packs=False,
        eager=False,  # transformers 5.23 adds the ALiBi bias twice in eager attention, also through TransformerBridge
    ),
    "MPT": Kind("MptConfig", Places("transformer.blocks", "ffn.down_proj", "ffn.up_proj"), MPT, packs=False),
    "Phi": Kind("PhiConfig", FC, SIZES | {"num_key_value_heads": 4}),
    "Phi-3": Kind("Phi3Config", FUSED, SIZES),
    "Phi-3, sliding window": Kind("Phi3Config", FUSED, SIZES | NEAR),
    "Llama": Kind("LlamaConfig", LLAMA, SIZES),
    "Llama, biases": Kind("LlamaConfig", LLAMA, SIZES | {"mlp_bias": True, "attention_bias": True}),
    "Llama 3, scaled rope": Kind("LlamaConfig", LLAMA, SIZES | {"rope_parameters": LLAMA3}),
    "Llama, YaRN": Kind("LlamaConfig", LLAMA, SIZES | {"rope_parameters": ROPE | {"rope_type": "yarn"}}),
    "Llama, linear rope": Kind("LlamaConfig", LLAMA, SIZES | {"rope_parameters": ROPE | {"rope_type": "linear"}}),
    "Mistral": Kind("MistralConfig", LLAMA, SIZES | {"sliding_window": None}),
    "Mistral, sliding window": Kind("MistralConfig", LLAMA, SIZES | NEAR),
    "Ministral 3": Kind("Ministral3Config", LLAMA, HEADS),
    "Qwen2": Kind("Qwen2Config", LLAMA, SIZES),
    "Qwen2, sliding window": Kind(
        "Qwen2Config", LLAMA, SIZES | NEAR | {"use_sliding_window": True, "max_window_layers": 1}
    ),
    "Qwen3": Kind("Qwen3Config", LLAMA, HEADS),
    "Gemma": Kind("GemmaConfig", LLAMA, HEADS | {"num_key_value_heads": 1}),
    "Gemma 2": Kind("Gemma2Config", LLAMA, GEMMA | NEAR),
    "Gemma 3, text": Kind("Gemma3TextConfig", LLAMA, GEMMA | MIXED),
    "VaultGemma": Kind("VaultGemmaConfig", LLAMA, GEMMA | MIXED),
    "OLMo": Kind("OlmoConfig", LLAMA, SIZES),
    "OLMo 2": Kind("Olmo2Config", LLAMA, SIZES),
    "OLMo 3": Kind("Olmo3Config", LLAMA, SIZES | MIXED),
    "StableLM": Kind("StableLmConfig", LLAMA, SIZES),
    "StableLM 2": Kind("StableLmConfig", LLAMA, SIZES | {"use_parallel_residual": True, "qk_layernorm": True}),
    "StarCoder2": Kind("Starcoder2Config", _blocks(GPT, "model.layers"), SIZES | NEAR),
    "Cohere": Kind("CohereConfig", LLAMA, SIZES),
    "Cohere 2": Kind("Cohere2Config", LLAMA, SIZES | MIXED),
    "GLM": Kind("GlmConfig", FUSED, HEADS),
    "GLM-4": Kind("Glm4Config", FUSED, HEADS),
    "SmolLM3": Kind("SmolLM3Config", LLAMA, SIZES | {"no_rope_layers": [1, 0, 1]}),
    "Granite": Kind("GraniteConfig", LLAMA, SIZES | GRANITE),
    "Nemotron": Kind("NemotronConfig", UP, HEADS),
    "EXAONE 4": Kind("Exaone4Config", LLAMA, SIZES | MIXED),
    "ERNIE 4.5": Kind("Ernie4_5Config", LLAMA, HEADS),
    "Seed-OSS": Kind("SeedOssConfig", LLAMA, HEADS),
    "Arcee": Kind("ArceeConfig", UP, SIZES),
    "Apertus": Kind("ApertusConfig", UP, SIZES),
    "HunYuan, dense": Kind("HunYuanDenseV1Config", LLAMA, HEADS),
    "nanochat": Kind("NanoChatConfig", FC, SIZES),
    "Jais 2": Kind("Jais2Config", UP, HEADS),
    "Youtu": Kind("YoutuConfig", LLAMA, SIZES | LATENT | {"num_key_value_heads": 4}),
    "ModernBERT decoder": Kind("ModernBertDecoderConfig", MODERN, SIZES | {"local_attention": WINDOW}),
    "LFM2": Kind(
        "Lfm2Config", LFM2, SIZES | {"layer_types": ["full_attention", "conv", "full_attention"]}, packs=False
    ),
    "BitNet, unpacked": Kind("BitNetConfig", LLAMA, SIZES),
}
"""By the name in the README's table; three blocks each, `Llama` and its like with fewer keys than heads."""

INSIDE = _blocks(LLAMA, "model.language_model.layers")
WITHIN = _blocks(LLAMA, "model.text_model.layers")
IMAGE = {"image_token_id": 250}
OLDER = {"image_token_index": 250}
TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
PIXELS = TOWER | {"image_size": 16, "patch_size": 8}
CLIP = PIXELS | {"model_type": "clip_vision_model"}
SIGLIP = PIXELS | {"model_type": "siglip_vision_model", "vision_use_head": False}
QWEN2_VL = {"depth": 2, "embed_dim": 16, "hidden_size": D_MODEL, "num_heads": 2, "mlp_ratio": 2, "patch_size": 8}
QWEN_VL = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "out_hidden_size": D_MODEL,
    "num_heads": 2,
    "patch_size": 8,
}
MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}}
QWEN_IDS = IMAGE | {"video_token_id": 251, "vision_start_token_id": 252, "vision_end_token_id": 253}

WRAPPERS: dict[str, Kind] = {
    "Qwen2-VL": Kind("Qwen2VLConfig", INSIDE, {"text_config": SIZES | MROPE, "vision_config": QWEN2_VL} | QWEN_IDS),
    "Qwen2.5-VL": Kind(
        "Qwen2_5_VLConfig",
        INSIDE,
        {"text_config": SIZES | MROPE, "vision_config": QWEN_VL | {"fullatt_block_indexes": [1]}} | QWEN_IDS,
    ),
    "Qwen3-VL": Kind(
        "Qwen3VLConfig",
        INSIDE,
        {
            "text_config": HEADS | MROPE,
            "vision_config": QWEN_VL | {"deepstack_visual_indexes": [0], "num_position_embeddings": 16},
        }
        | QWEN_IDS,
    ),
    "LLaVA": Kind(
        "LlavaConfig", INSIDE, {"text_config": SIZES | {"model_type": "llama"}, "vision_config": CLIP} | OLDER
    ),
    "LLaVA-NeXT": Kind(
        "LlavaNextConfig",
        INSIDE,
        {"text_config": SIZES | NEAR | {"model_type": "mistral"}, "vision_config": CLIP} | OLDER,
    ),
    "LLaVA-OneVision": Kind(
        "LlavaOnevisionConfig",
        INSIDE,
        {"text_config": SIZES | {"model_type": "qwen2"}, "vision_config": SIGLIP, "video_token_index": 251} | OLDER,
    ),
    "Mistral 3": Kind(
        "Mistral3Config",
        INSIDE,
        {
            "text_config": HEADS | {"model_type": "mistral", "sliding_window": None},
            "vision_config": PIXELS | {"model_type": "pixtral", "head_dim": 8},
        }
        | OLDER,
    ),
    "Gemma 3": Kind(
        "Gemma3Config",
        INSIDE,
        {"text_config": GEMMA | MIXED, "vision_config": SIGLIP, "boi_token_index": 251, "eoi_token_index": 252} | OLDER,
    ),
    "Idefics3": Kind(
        "Idefics3Config", WITHIN, {"text_config": SIZES | {"model_type": "llama"}, "vision_config": PIXELS} | IMAGE
    ),
    "SmolVLM": Kind(
        "SmolVLMConfig", WITHIN, {"text_config": SIZES | {"model_type": "llama"}, "vision_config": PIXELS} | IMAGE
    ),
    "InternVL": Kind(
        "InternVLConfig",
        INSIDE,
        {
            "text_config": SIZES | {"model_type": "qwen2"},
            "vision_config": TOWER | {"image_size": [16, 16], "patch_size": [8, 8]},
        }
        | IMAGE,
    ),
    "Aya Vision": Kind(
        "AyaVisionConfig",
        INSIDE,
        {"text_config": SIZES | MIXED | {"model_type": "cohere2"}, "vision_config": SIGLIP} | OLDER,
    ),
    "GLM-4.1V": Kind(
        "Glm4vConfig",
        _blocks(FUSED, INSIDE.blocks),
        {"text_config": SIZES | MROPE, "vision_config": QWEN_VL | {"image_size": 16}} | IMAGE,
    ),
}
"""Multimodal models, of which the text part is read."""

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "Ministral": ("MinistralConfig", HEADS | MIXED),
    "Helium": ("HeliumConfig", HEADS),
    "Persimmon": ("PersimmonConfig", SIZES),
    "BioGPT": ("BioGptConfig", SIZES),
    "CWM": ("CwmConfig", HEADS | MIXED),
    "DiffLlama": ("DiffLlamaConfig", SIZES),
    "HyperCLOVA X": ("HyperCLOVAXConfig", SIZES),
    "Granite SWA": ("GraniteSWAConfig", SIZES),
}
"""Dense decoders that transformers has and TransformerLens has no adapter for."""
