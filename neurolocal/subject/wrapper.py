"""Multimodal models: only their text part is built, loaded and read.

Invariant: the text part is transformers' own modules inside its own wrapper, so the logits of plain text are the
wrapper's. The towers for images and sound are removed before any weight is read.
Cost: the weights of the text part; nothing for the towers.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from neurolocal.errors import SubjectError
from neurolocal.subject.sites import ModulePaths, module_paths

ALIKE = {"qwen2_vl_text": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen3_vl_text": "qwen3", "glm4v_text": "glm4"}
"""Text parts that have no name of their own as a language model, and the one with the same modules."""


def is_wrapper(config: Any) -> bool:
    """Whether a model has a text part with its own config."""
    return config.get_text_config() is not config


def text_only(kind: type) -> type:
    """The class of a multimodal model without its towers: what it builds has the text part alone."""

    def build(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        kind.__init__(self, config, *args, **kwargs)
        _remove_towers(self)

    return type(kind.__name__, (kind,), {"__init__": build, "__module__": kind.__module__})


def text_body(model: Any) -> torch.nn.Module:
    """The decoder body of a language model, or of the one inside a multimodal model."""
    return model.get_decoder().base_model if is_wrapper(model.config) else model.base_model


def text_paths(model: Any, n_layers: int) -> ModulePaths:
    """The modules of a language model; of a multimodal one's text part from TransformerLens's adapter for the wrapper,
    else for the language model inside.

    Raises:
        SubjectError: it has an adapter for neither.
    """
    if not is_wrapper(model.config):
        return module_paths(model.config, n_layers)
    try:
        found = module_paths(model.config, n_layers)
        model.get_submodule((found.mlp or found.out)[0])
        return found
    except (SubjectError, AttributeError) as error:
        alone = _text_config(model.config)
        if alone is None:
            raise error if isinstance(error, SubjectError) else SubjectError(str(error)) from error
    found = module_paths(alone, n_layers)
    body, unembed = text_body(model), model.get_output_embeddings()
    names = {id(module): name for name, module in model.named_modules()}
    inside = names[id(body)]

    def moved(path: str) -> str:
        """`model.layers.0` of the language model as a path of the wrapper."""
        return f"{inside}.{path.partition('.')[2]}" if path else ""

    every: dict[str, Any] = {
        field: moved(paths) if isinstance(paths, str) else type(paths)(moved(path) for path in paths)
        for field, paths in found._asdict().items()
    }
    return ModulePaths(**every | {"unembed": names.get(id(unembed), "")})


def _text_config(config: Any) -> Any | None:
    """The config of the text part as that of a language model of its own; None where transformers has no such one."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    text = copy.deepcopy(config.get_text_config())
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(ALIKE.get(text.model_type, text.model_type))
    if not isinstance(name, str):
        return None
    text.architectures = [name]
    return text


def _remove_towers(model: Any) -> None:
    """Set to None every module that is neither in the text part nor on the way to it, except the unembedding."""
    kept = {id(part) for part in [*text_body(model).modules(), *_parts(model.get_output_embeddings())]}
    level = [model]
    while level:
        module = level.pop()
        for name, child in list(module.named_children()):
            if id(child) not in kept:
                if any(id(part) in kept for part in child.modules()):
                    level.append(child)
                else:
                    setattr(module, name, None)


def _parts(module: torch.nn.Module | None) -> list[torch.nn.Module]:
    return [] if module is None else list(module.modules())
