"""What tests of TransformerLens's own checkpoints share: random ones on disk, in each layout, and its own forward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

CONFIG: dict[str, Any] = {
    "d_model": 32,
    "n_layers": 2,
    "d_mlp": 48,
    "d_head": 8,
    "n_heads": 4,
    "n_ctx": 64,
    "d_vocab": 512,
    "act_fn": "solu_ln",
    "attn_only": False,
    "normalization": "LN",
    "tokenizer_name": "EleutherAI/no-such-tokenizer",
}
"""A config.json in TransformerLens's own keys."""


def random_weights(config: dict[str, Any], *, seed: int) -> dict[str, torch.Tensor]:
    """A state dict in TransformerLens's property names, matrices (in, out), buffers included."""
    draw = torch.Generator().manual_seed(seed)
    d, m, h, e = (config[name] for name in ("d_model", "d_mlp", "n_heads", "d_head"))
    has_weights = config.get("normalization", config.get("normalization_type")) in ("LN", "RMS")
    rms = config.get("normalization") == "RMS"

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw) * 0.3

    def norm(name: str, width: int, *, biased: bool) -> dict[str, torch.Tensor]:
        return {f"{name}.w": 1 + normal(width)} | ({f"{name}.b": normal(width)} if biased else {})

    found = {"embed.W_E": normal(config["d_vocab"], d), "pos_embed.W_pos": normal(config["n_ctx"], d)}
    for i in range(config["n_layers"]):
        block = f"blocks.{i}"
        for name in "QKV":
            found |= {f"{block}.attn.W_{name}": normal(h, d, e), f"{block}.attn.b_{name}": normal(h, e)}
        found |= {f"{block}.attn.W_O": normal(h, e, d), f"{block}.attn.b_O": normal(d)}
        found |= {f"{block}.mlp.W_in": normal(d, m), f"{block}.mlp.b_in": normal(m)}
        found |= {f"{block}.mlp.W_out": normal(m, d), f"{block}.mlp.b_out": normal(d)}
        found[f"{block}.attn.mask"] = torch.ones(config["n_ctx"], config["n_ctx"], dtype=torch.bool).tril()
        found[f"{block}.attn.IGNORE"] = torch.tensor(-1e5)
        if config["act_fn"] == "solu_ln":
            found |= norm(f"{block}.mlp.ln", m, biased=True)
        if has_weights:
            found |= norm(f"{block}.ln1", d, biased=not rms) | norm(f"{block}.ln2", d, biased=not rms)
    if has_weights:
        found |= norm("ln_final", d, biased=not (rms or config.get("final_rms")))
    return found | {"unembed.W_U": normal(d, config["d_vocab"]), "unembed.b_U": normal(config["d_vocab"])}


def old_layout(weights: dict[str, torch.Tensor], *, all_left: bool) -> dict[str, torch.Tensor]:
    """The first SoLU models': `norm` for `ln`, the positions (d_model, n_ctx), and with `all_left` every matrix so."""
    found = {}
    for name, x in weights.items():
        turn = name == "pos_embed.W_pos" or (all_left and "W_" in name)
        new = name.replace("ln_final", "norm").replace("ln", "norm")
        found[new] = x.transpose(-2, -1).contiguous() if turn else x
    return found


def write_legacy(
    folder: Path,
    config: dict[str, Any],
    weights: dict[str, torch.Tensor],
    *,
    tokenizer_from: Path | None,
    name: str = "model_final.pth",
    zipped: bool = True,
) -> Path:
    """Such a model on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(weights, folder / name, _use_new_zipfile_serialization=zipped)
    if tokenizer_from is not None:
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (folder / file).write_bytes((tokenizer_from / file).read_bytes())
    return folder


def native_bridge(config: dict[str, Any], weights: dict[str, torch.Tensor]) -> Any:
    """TransformerLens's own model around the same weights."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge.sources.native import boot
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    own = TransformerBridgeConfig(
        **{name: config[name] for name in ("d_model", "n_layers", "d_mlp", "d_head", "n_heads", "n_ctx", "d_vocab")},
        act_fn=config["act_fn"],
        final_rms=config.get("final_rms", False),
        normalization_type=config.get("normalization", config.get("normalization_type")),
        positional_embedding_type="standard",
        architecture="TransformerLensNative",
    )
    bridge = boot(own)
    converted = convert_tl_checkpoint(weights, own)
    bridge.load_state_dict(converted, strict=True)
    return bridge


def bridge_site(bridge: Any, tokens: torch.Tensor, site: str) -> list[torch.Tensor]:
    """A site in every layer, in TransformerLens's own forward pass; `mid` is what enters its LayerNorm."""
    hook = {"mid": "ln.hook_in", "post": "hook_post", "pre": "hook_pre"}[site]
    names = [f"blocks.{layer}.mlp.{hook}" for layer in range(bridge.cfg.n_layers)]
    with torch.inference_mode():
        _, cache = bridge.run_with_cache(tokens, names_filter=lambda name: name in names)
    return [cache[name] for name in names]
