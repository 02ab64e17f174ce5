"""Where a model's neurons are: TransformerLens's architecture adapters translate `blocks.3.mlp.out` to a module path.

Invariant: we never guess a path ourselves. The answer depends on the model's config and the packages' versions alone,
and importing TransformerLens takes about 2 s, so it is kept as a small file in the cache.
Cost: nothing after the first time.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeVar

import torch

from neurolocal.cache import cache_folder, write_text
from neurolocal.config import sha256
from neurolocal.errors import SubjectError

T = TypeVar("T")


def out_projection_paths(hf_config: Any, n_layers: int) -> list[str]:
    """The path of each layer's MLP out projection, whose input is `blocks.{layer}.mlp.hook_post`.

    Args:
        hf_config: the Hugging Face config of the model.
        n_layers: number of blocks.

    Raises:
        SubjectError: TransformerLens knows no such architecture, or it has no MLP neurons.
    """
    return remembered(hf_config, "out projections", lambda: _translate(hf_config, n_layers), of=(n_layers, str))


def remembered(hf_config: Any, what: str, find: Callable[[], list[T]], *, of: tuple[int, type[T]]) -> list[T]:
    """A list that a model's config and the packages' versions decide: from the cache, or found now and kept.

    Args:
        hf_config: the Hugging Face config of the model.
        what: the list's name.
        find: finds it.
        of: its length, and what it holds.
    """
    versions = [version(name) for name in ("transformer-lens", "transformers")]
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
    except Exception as error:  # the adapters raise many kinds, each meaning "not known"
        raise SubjectError(
            f"looking for the neurons of a {kind}: TransformerLens {version('transformer-lens')} has no adapter for "
            f"it ({_first_line(error)}). Use a model from its list of supported architectures."
        ) from error
    try:
        return [adapter.translate_transformer_lens_path(f"blocks.{layer}.mlp.out") for layer in range(n_layers)]
    except (ValueError, KeyError, AttributeError) as error:
        raise SubjectError(
            f"looking for the neurons of a {kind}: it has no MLP with one out projection a layer "
            f"({_first_line(error)}). Attention-only, state-space and mixture-of-experts models cannot be read yet."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
