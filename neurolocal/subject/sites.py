"""Where a model's neurons are: TransformerLens's architecture adapters translate `blocks.3.mlp.out` to a module path.

Invariant: every path comes from TransformerLens. It depends on the model's config and the packages' versions alone, so
it is stored as a small file in the cache, which saves importing TransformerLens.
Cost: importing TransformerLens the first time; then reading the file.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple, TypeVar

import torch

from neurolocal.config import sha256
from neurolocal.errors import SubjectError, first_line
from neurolocal.files import cache_folder, write_text

T = TypeVar("T")


BLOCK = ("mlp.out", "mlp.in", "mlp.gate", "ln2_post")
"""The modules of every block, in TransformerLens's names; all but the first may be missing."""

SPARSE_BLOCK = ("mlp.dense_out", "mlp.dense_in", "mlp.dense_gate", "ln2_post")
"""The same of an architecture with experts, whose blocks may be dense as well. TransformerLens has no name for the
neurons of the experts: they are found inside the module that it names `mlp`."""

ENDS = ("ln_final", "unembed")
"""The modules after the blocks; missing where a model has no unembedding."""


class ModulePaths(NamedTuple):
    """Module paths by TransformerLens's names; empty strings where a model has no such module."""

    out: list[str]
    """Of each layer's MLP out projection, whose input is `blocks.{layer}.mlp.hook_post`."""
    in_: list[str]
    """Of the in projection: `hook_pre` is its output, or `hook_pre_linear` in a gated MLP."""
    gate: list[str]
    """Of the gate projection, whose output is `hook_pre` in a gated MLP."""
    ln2_post: list[str]
    """Of a norm between the MLP and the residual stream."""
    ln_final: str
    """Of the norm before the unembedding."""
    unembed: str
    """Of the unembedding."""
    mlp: tuple[str, ...] = ()
    """Of each layer's MLP, which may hold experts; empty for an architecture without."""


def module_paths(hf_config: Any, n_layers: int) -> ModulePaths:
    """The modules of a model's MLPs, and those between the last block and the logits.

    Args:
        hf_config: the Hugging Face config of the model.
        n_layers: number of blocks.

    Raises:
        SubjectError: TransformerLens knows no such architecture, or it has no MLP neurons.
    """
    length = (len(BLOCK) + 1) * n_layers + len(ENDS)
    found = remembered(hf_config, "module paths", lambda: _translate(hf_config, n_layers), of=(length, str))
    out, in_, gate, ln2_post, mlp = [found[i * n_layers : (i + 1) * n_layers] for i in range(len(BLOCK) + 1)]
    ln_final, unembed = found[-len(ENDS) :]
    return ModulePaths(out, in_, gate, ln2_post, ln_final, unembed, tuple(mlp) if any(mlp) else ())


def remembered(hf_config: Any, what: str, find: Callable[[], list[T]], *, of: tuple[int, type[T]]) -> list[T]:
    """A list that depends on a model's config and the packages' versions alone: from the cache, or computed and stored.

    Args:
        hf_config: the Hugging Face config of the model.
        what: the list's name.
        find: computes it.
        of: its length, and the type of its elements.
    """
    versions = [_version(name) for name in ("transformer-lens", "transformers")]
    key = sha256([what, of[0], hf_config.to_json_string(use_diff=False), *versions])
    kept = cache_folder("sites") / f"{key}.json"
    with contextlib.suppress(FileNotFoundError, ValueError):
        there = json.loads(kept.read_text(encoding="utf-8"))
        if isinstance(there, list) and len(there) == of[0] and all(type(one) is of[1] for one in there):
            return there
    found = find()
    write_text(kept, json.dumps(found))
    return found


def _translate(hf_config: Any, n_layers: int) -> list[str]:
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_config_from_hf
    from transformer_lens.model_bridge.sources._hf_format import determine_architecture_from_hf_config

    logging.getLogger("transformer_lens").setLevel(logging.ERROR)
    kind = ", ".join(hf_config.architectures or [hf_config.model_type])
    try:
        architecture = determine_architecture_from_hf_config(hf_config)
        config = build_bridge_config_from_hf(hf_config, architecture, kind, torch.float32)
        adapter = ArchitectureAdapterFactory.select_architecture_adapter(config)
    except Exception as error:  # the adapters raise many types for an unknown architecture
        raise SubjectError(
            f"looking for the neurons of a {kind}: TransformerLens {version('transformer-lens')} has no adapter for "
            f"it ({_reason(error)}). Use a model from its list of supported architectures."
        ) from error
    block, mlp = BLOCK, [""] * n_layers
    try:
        adapter.translate_transformer_lens_path(f"blocks.0.{BLOCK[0]}")
    except (ValueError, KeyError, AttributeError) as error:
        block, mlp = SPARSE_BLOCK, [_path(adapter, f"blocks.{layer}.mlp") for layer in range(n_layers)]
        if not all(mlp):
            raise SubjectError(
                f"looking for the neurons of a {kind}: it has no MLP with one out projection a layer, and no experts "
                f"({_reason(error)}). Attention-only and state-space models cannot be read."
            ) from error
    names = [f"blocks.{layer}.{name}" for name in block for layer in range(n_layers)]
    paths = [_path(adapter, name) for name in [*names, *ENDS]]
    return [*paths[: -len(ENDS)], *mlp, *paths[-len(ENDS) :]]


def _path(adapter: Any, name: str) -> str:
    """The module path of a name; empty where the architecture has none."""
    try:
        return adapter.translate_transformer_lens_path(name)
    except (ValueError, KeyError, AttributeError):
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # not needed by callers that give the paths themselves
        return "absent"


def _reason(error: Exception) -> str:
    return first_line(error, 1000).partition(". Available")[0][:160]  # TransformerLens lists all that it knows
