"""TransformerLens's own architecture as a GPT-2 body, whose MLPs and norms are replaced where they differ.

Invariant: equal to TransformerLens's native model (a test compares them). GPT-2's body has fast attention, masks and
caches; SoLU models add the activation x * softmax(x) and a LayerNorm between it and the out projection.
Cost: made on the meta device without memory; the weights are used without a copy where their shape allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

Norm = Literal["LN", "LNPre", "RMS", "RMSPre"] | None
"""TransformerLens's `normalization_type`; the `Pre` kinds have no weights, which are folded into what follows."""

EPS = 1e-5
"""The epsilon of all of TransformerLens's own training runs."""


def solu(x: Float[Tensor, "*shape d_mlp"]) -> Float[Tensor, "*shape d_mlp"]:
    """x * softmax(x) over the neurons: https://transformer-circuits.pub/2022/solu."""
    return x * functional.softmax(x, dim=-1)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "solu": solu,
    "solu_ln": solu,
}
"""By TransformerLens's `act_fn`."""


@dataclass(frozen=True)
class NativeConfig:
    """Sizes and kinds of one of TransformerLens's own models, in its own names."""

    d_model: int
    """Width of the residual stream; n_heads * d_head."""
    n_layers: int
    """Blocks."""
    d_mlp: int
    """Neurons a layer."""
    n_heads: int
    """Attention heads a layer."""
    n_ctx: int
    """Positions."""
    d_vocab: int
    """Token ids."""
    act_fn: str
    """One of `ACTIVATIONS`."""
    normalization: Norm = "LN"
    """Of the blocks' norms and the final one."""
    final_rms: bool = False
    """Whether the final norm is an RMS norm whatever the blocks have."""


class NativeMLP(nn.Module):
    """In projection, activation, with `solu_ln` a LayerNorm, out projection; named as in GPT-2."""

    def __init__(self, config: NativeConfig) -> None:
        """Make the layers; their weights are set later."""
        super().__init__()
        self.c_fc = Conv1D(config.d_mlp, config.d_model)
        self.act = ACTIVATIONS[config.act_fn]
        self.ln = nn.LayerNorm(config.d_mlp, eps=EPS) if config.act_fn == "solu_ln" else None
        self.c_proj = Conv1D(config.d_model, config.d_mlp)

    def forward(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """The MLP's output, which the block adds to the residual stream."""
        mid = self.act(self.c_fc(x))
        return self.c_proj(mid if self.ln is None else self.ln(mid))


def native_model(config: NativeConfig, weights: Mapping[str, Float[Tensor, "..."]]) -> Any:
    """The model with weights given in TransformerLens's names and shapes (`expected_shapes`).

    A weight is copied only where GPT-2 needs another shape. Norms without weights get ones and zeros.
    """
    own = GPT2Config(
        vocab_size=config.d_vocab,
        n_positions=config.n_ctx,
        n_embd=config.d_model,
        n_layer=config.n_layers,
        n_head=config.n_heads,
        n_inner=config.d_mlp,
        layer_norm_epsilon=EPS,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    )
    own.architectures = ["GPT2LMHeadModel"]
    own.native_architecture = "TransformerLensNative"
    with torch.device("meta"):
        model = GPT2LMHeadModel(own)
        for block in model.transformer.h:
            block.mlp = NativeMLP(config)  # pyright: ignore[reportArgumentType]
            block.ln_1, block.ln_2 = _norm(config), _norm(config)  # pyright: ignore[reportAttributeAccessIssue]
        model.transformer.ln_f = _norm(config, final=True)  # pyright: ignore[reportAttributeAccessIssue]
    own.activation_function = config.act_fn  # set after the construction, since transformers has no SoLU
    state = {name: tensor.contiguous() for name, tensor in _gpt2_weights(config, weights).items()}
    dtype = weights["embed.W_E"].dtype
    for name, value in model.state_dict().items():
        if name not in state:  # norms without weights
            state[name] = torch.full(value.shape, float(name.endswith("weight")), dtype=dtype)
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def expected_shapes(config: NativeConfig) -> dict[str, tuple[int, ...]]:
    """The tensors of a checkpoint, in TransformerLens's names, without the unembedding's bias, which is not read."""
    d, m, heads = config.d_model, config.d_mlp, config.n_heads
    weighted = config.normalization in ("LN", "RMS")
    block: dict[str, tuple[int, ...]] = {
        **{f"attn.W_{name}": (heads, d, d // heads) for name in "QKV"},
        **{f"attn.b_{name}": (heads, d // heads) for name in "QKV"},
        "attn.W_O": (heads, d // heads, d),
        "attn.b_O": (d,),
        "mlp.W_in": (d, m),
        "mlp.b_in": (m,),
        "mlp.W_out": (m, d),
        "mlp.b_out": (d,),
    }
    if config.act_fn == "solu_ln":
        block |= {"mlp.ln.w": (m,), "mlp.ln.b": (m,)}
    if weighted:
        biased = ("w", "b") if config.normalization == "LN" else ("w",)
        block |= {f"{norm}.{part}": (d,) for norm in ("ln1", "ln2") for part in biased}
    ends: dict[str, tuple[int, ...]] = {
        "embed.W_E": (config.d_vocab, d),
        "pos_embed.W_pos": (config.n_ctx, d),
        "unembed.W_U": (d, config.d_vocab),
    }
    if weighted:
        rms = config.final_rms or config.normalization == "RMS"
        ends |= {f"ln_final.{part}": (d,) for part in (("w",) if rms else ("w", "b"))}
    return ends | {f"blocks.{i}.{name}": shape for i in range(config.n_layers) for name, shape in block.items()}


def _norm(config: NativeConfig, *, final: bool = False) -> nn.Module:
    if config.normalization in ("RMS", "RMSPre") or (final and config.final_rms):
        return nn.RMSNorm(config.d_model, eps=EPS)
    return nn.Identity() if config.normalization is None else nn.LayerNorm(config.d_model, eps=EPS)


def _gpt2_weights(config: NativeConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in GPT-2's names and shapes: heads side by side; query, key and value in one matrix."""
    d, found = config.d_model, {"transformer.wte.weight": weights["embed.W_E"]}
    found["transformer.wpe.weight"] = weights["pos_embed.W_pos"]
    found["lm_head.weight"] = weights["unembed.W_U"].T
    plain = {"mlp.W_in": "mlp.c_fc.weight", "mlp.b_in": "mlp.c_fc.bias", "mlp.ln.w": "mlp.ln.weight"} | {
        "mlp.W_out": "mlp.c_proj.weight",
        "mlp.b_out": "mlp.c_proj.bias",
        "mlp.ln.b": "mlp.ln.bias",
        "attn.b_O": "attn.c_proj.bias",
        "ln1.w": "ln_1.weight",
        "ln1.b": "ln_1.bias",
        "ln2.w": "ln_2.weight",
        "ln2.b": "ln_2.bias",
    }
    for i in range(config.n_layers):
        old, new = f"blocks.{i}.", f"transformer.h.{i}."
        found |= {new + plain[name]: weights[old + name] for name in plain if old + name in weights}
        flat = [weights[f"{old}attn.W_{name}"].permute(1, 0, 2).reshape(d, d) for name in "QKV"]
        found[f"{new}attn.c_attn.weight"] = torch.cat(flat, dim=1)
        found[f"{new}attn.c_attn.bias"] = torch.cat([weights[f"{old}attn.b_{name}"].reshape(d) for name in "QKV"])
        found[f"{new}attn.c_proj.weight"] = weights[f"{old}attn.W_O"].reshape(d, d)
    for part, name in (("w", "weight"), ("b", "bias")):
        if f"ln_final.{part}" in weights:
            found[f"transformer.ln_f.{name}"] = weights[f"ln_final.{part}"]
    return found
