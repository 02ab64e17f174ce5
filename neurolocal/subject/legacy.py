"""TransformerLens's own checkpoints on disk (`config.json` in its own keys, `*.pth`) -> a model.

Invariant: no code in a `.pth` is run (`weights_only`), and every tensor has the name and shape that the config implies.
The first SoLU models write `norm` for `ln` and have some or all matrices transposed; the tensors' shapes show which.
Cost: one read of the weights, mapped into memory where the file allows it.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from neurolocal.errors import SubjectError, first_line

if TYPE_CHECKING:
    from neurolocal.subject.native import NativeConfig

SIZES = ("d_model", "n_layers", "d_mlp", "d_head", "n_heads", "n_ctx", "d_vocab")
"""Keys that a config must have, each a whole number above 0."""

UNREAD = (".mask", ".IGNORE", "unembed.b_U")
"""Ends of the names of tensors that are not read: buffers, and the unembedding's bias."""


def legacy_config(folder: Path) -> dict[str, Any] | None:
    """A folder's config, if it has TransformerLens's own keys; else None."""
    try:
        there = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    own = isinstance(there, dict) and "model_type" not in there and {"d_model", "n_layers"} <= there.keys()
    return there if own else None


def load_legacy(folder: Path, dtype: torch.dtype) -> Any:
    """The model of a folder for which `legacy_config` returns a config.

    Raises:
        SubjectError: an unsupported kind of model, or weights that are missing, damaged, or do not fit the config.
    """
    from neurolocal.subject.native import expected_shapes, native_model

    there = legacy_config(folder) or {}
    config = _native_config(folder, there)
    path = _weights_file(folder)
    weights, old = _named(_read(path))
    wanted = expected_shapes(config)
    if config.normalization != "LN" and not any(name.endswith((".mlp.ln.w", ".mlp.ln.b")) for name in weights):
        # TransformerLens's LayerNorm between activation and out projection then has no weights either.
        wanted = {name: shape for name, shape in wanted.items() if ".mlp.ln." not in name}
    if missing := sorted(wanted.keys() - weights.keys()):
        raise SubjectError(
            f"loading the subject {folder}: {path.name} lacks {len(missing)} tensors ({', '.join(missing[:3])}); it "
            f"has {len(weights)} ({', '.join(sorted(weights)[:2])}, ...). Expected a whole one in TransformerLens's "
            "names; copy it again."
        )
    old = old or "old" in str(there.get("architecture", "")) or "_old" in str(folder)
    found = {
        name: tensor.to(dtype)
        for name, tensor in _facing_right(weights, config, old=old).items()
        if name in wanted  # the others are buffers
    }
    wrong = [name for name, shape in wanted.items() if tuple(found[name].shape) != shape]
    if wrong:
        name = wrong[0]
        raise SubjectError(
            f"loading the subject {folder}: {name} in {path.name} has the shape {tuple(weights[name].shape)}, and "
            f"config.json promises {wanted[name]} ({len(wrong)} such tensors). Config and weights are of two models."
        )
    return native_model(config, found)


def legacy_shapes(folder: Path) -> tuple[int, dict[str, tuple[int, ...]]]:
    """d_model and the tensors of a folder for which `legacy_config` returns a config.

    Raises:
        SubjectError: an unsupported kind of model.
    """
    from neurolocal.subject.native import expected_shapes

    config = _native_config(folder, legacy_config(folder) or {})
    return config.d_model, expected_shapes(config)


def _native_config(folder: Path, there: Mapping[str, Any]) -> NativeConfig:
    from neurolocal.subject.native import ACTIVATIONS, NativeConfig

    def refuse(what: str) -> SubjectError:
        return SubjectError(f"loading the subject {folder}: its config.json is TransformerLens's own, {what}.")

    if there.get("attn_only"):
        raise refuse("and says attn_only: a model without MLP neurons. Give a model with MLPs")
    if there.get("shortformer_pos") or there.get("positional_embedding_type", "standard") != "standard":
        raise refuse("with shortformer or rotary positions, which cannot be read yet. Give one with standard positions")
    if there.get("gated_mlp"):
        raise refuse("with gated MLPs, which cannot be read yet. Give one without")
    sizes: dict[str, int] = {name: there.get(name, 0) for name in SIZES}
    if wrong := [name for name, n in sizes.items() if type(n) is not int or n < 1]:
        raise refuse(f"with {wrong[0]} = {there.get(wrong[0])!r}; expected a whole number above 0. Copy the file again")
    if sizes["n_heads"] * sizes["d_head"] != sizes["d_model"]:
        raise refuse(
            f"with n_heads {sizes['n_heads']} * d_head {sizes['d_head']} != d_model {sizes['d_model']}, which cannot "
            "be read yet. Convert it to a Hugging Face folder"
        )
    act_fn = str(there.get("act_fn")).lower()
    if act_fn not in ACTIVATIONS:
        raise refuse(f"with act_fn {there.get('act_fn')!r}; known are {', '.join(ACTIVATIONS)}")
    normalization = there.get("normalization", there.get("normalization_type", "LN"))
    kinds = {"LN": "LN", "LNPRE": "LNPre", "RMS": "RMS", "RMSPRE": "RMSPre", "NONE": None}
    if str(normalization).upper() not in kinds:
        raise refuse(f"with normalization {normalization!r}; known are LN, LNPre, RMS, RMSPre and null")
    del sizes["d_head"]
    return NativeConfig(
        **sizes,
        act_fn=act_fn,
        normalization=kinds[str(normalization).upper()],  # pyright: ignore[reportArgumentType]
        final_rms=bool(there.get("final_rms", False)),
    )


def _weights_file(folder: Path) -> Path:
    files = sorted(folder.glob("*.pth"))
    final = [path for path in files if path.name.endswith("final.pth")]
    if len(final) != 1 and len(files) != 1:
        raise SubjectError(
            f"loading the subject {folder}: TransformerLens's config.json stands beside {len(files)} .pth files "
            f"({', '.join(path.name for path in files[:4]) or 'none'}); expected one, or one whose name ends in "
            "final.pth. Keep only the checkpoint you want."
        )
    return (final or files)[0]


def _read(path: Path) -> dict[str, Float[Tensor, "..."]]:
    try:
        there = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise SubjectError(
            f"loading the subject {path}: it is damaged, or holds more than tensors ({first_line(error, 120)}), and "
            "code in a checkpoint is never run. Save its state_dict alone, or copy the file again."
        ) from error
    except Exception as error:  # a truncated file raises many types
        raise SubjectError(
            f"loading the subject {path}: the checkpoint is cut short or damaged ({path.stat().st_size:,} bytes; "
            f"{type(error).__name__}: {first_line(error, 120)}). Copy the file again."
        ) from error
    if not isinstance(there, dict) or not there or not all(_is_weight(name, x) for name, x in there.items()):
        raise SubjectError(
            f"loading the subject {path}: it holds no plain mapping of names to tensors ({type(there).__name__}). "
            "Save the model's state_dict alone."
        )
    return there


def _is_weight(name: object, tensor: object) -> bool:
    return isinstance(name, str) and isinstance(tensor, Tensor)


def _named(there: Mapping[str, Float[Tensor, "..."]]) -> tuple[dict[str, Float[Tensor, "..."]], bool]:
    """The tensors by their present names, and whether their names were the first models' (`norm` for `ln`)."""
    old = any("norm" in name for name in there)
    renamed = {name.replace("norm", "ln"): x for name, x in there.items() if not name.endswith(UNREAD)}
    return {f"ln_final{name[2:]}" if name.startswith("ln.") else name: x for name, x in renamed.items()}, old


def _facing_right(
    weights: Mapping[str, Float[Tensor, "..."]], config: NativeConfig, *, old: bool
) -> dict[str, Float[Tensor, "..."]]:
    """Matrices as (in, out).

    Of the first SoLU models, those with up to six layers store all matrices as (out, in), and those with up to eight
    the positions too. Shapes decide where a matrix is not square; otherwise the names do, as for the positions of the
    eight-layer model.
    """

    def turned(name: str, rows: int, columns: int, *, in_doubt: bool) -> bool:
        if rows == columns:
            return in_doubt  # a square matrix has one shape either way
        return tuple(weights[name].shape) == (columns, rows)

    all_left = turned("embed.W_E", config.d_vocab, config.d_model, in_doubt=old and config.n_layers <= 6)
    pos_left = turned("pos_embed.W_pos", config.n_ctx, config.d_model, in_doubt=old and config.n_layers <= 8)
    return {
        name: x.transpose(-2, -1)
        if (pos_left if name == "pos_embed.W_pos" else all_left and ".W_" in name and x.ndim >= 2)
        else x
        for name, x in weights.items()
    }
