"""A Hugging Face folder -> transformers' model: which kind it is, in which class, and what of its weights is missing.

Invariant: no download, no remote code, no pickle; a kind of model that cannot be read is refused by its name, not as a
damaged folder. Cost: one read of the weights.
"""

from __future__ import annotations

import os
import secrets
import shutil
import weakref
from pathlib import Path
from typing import Any

from neurolocal.errors import SubjectError, first_line
from neurolocal.files import cache_folder
from neurolocal.subject.folder import TRIAL, check_sizes, weight_files
from neurolocal.subject.placement import placement, require_room, weight_bytes
from neurolocal.subject.quantised import DEQUANTISED, cast_rest, dequantising, quantisation
from neurolocal.subject.weights import require_tensors
from neurolocal.subject.wrapper import is_wrapper, text_only
from neurolocal.trial import MAPPED, require_harmless

LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


DAMAGE = {"SafetensorError", "UnpicklingError", "EOFError", "BadZipFile", "UnicodeDecodeError"}
"""What is raised for damaged files, beside OSError."""


WIDENED = 4
"""Most bytes in memory for a byte of the files: float8 weights as float32."""


def load_pretrained(folder: Path, dtype: str, *, spread: bool, free: int | None = None) -> tuple[Any, set[str]]:
    """The model of a folder, and the names of tensors outside the decoder body that its files lack.

    Args:
        folder: a Hugging Face model folder.
        dtype: float32, bfloat16 or float16.
        spread: whether to place its parts on all devices there are, if it needs them (`placement`).
        free: bytes of memory that the weights may take, where they are not spread; None does not ask.

    Raises:
        SubjectError: damaged files, or a kind of model that cannot be read.
    """
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    config = model_config(folder)
    kind = _model_class(config, folder)
    check_sizes(config.get_text_config(), folder)
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            require_harmless(path, TRIAL, package="safetensors", error=SubjectError, memory=MAPPED)
    method = quantisation(config)
    spill = cache_folder("offload") / f"{os.getpid()}-{secrets.token_hex(4)}"  # made if it is needed
    places = placement(kind, config, folder, getattr(torch, dtype), spill) if spread else {}
    if not spread and free is not None and WIDENED * sum(path.stat().st_size for path in weight_files(folder)) > free:
        require_room(weight_bytes(kind, config, folder, getattr(torch, dtype)), free, folder)
    # None is scaled-dot-product attention, or eager for models that have no other (GPT-J). The former omits the
    # soft-capping of scores, which only eager computes.
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    with dequantising(config, folder, getattr(torch, dtype)):
        try:
            loaded: Any = kind.from_pretrained(
                str(folder),
                config=config,
                output_loading_info=True,
                dtype=getattr(torch, dtype),
                attn_implementation="eager" if capped else None,
                weights_only=True,
                **places,
                **LOCAL,
            )
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # OSError, ValueError, KeyError, SafetensorError …; a panic is no Exception
            raise _refusal(folder, error, quantised=method) from error
    model, info = loaded
    if spread:
        weakref.finalize(model, shutil.rmtree, spill, ignore_errors=True)
    require_tensors(model, info["missing_keys"], folder)
    if method in DEQUANTISED:
        cast_rest(model, getattr(torch, dtype))
    return model, set(info["missing_keys"])


def without_weights(config: Any, folder: Path) -> Any:
    """The model of a config with weights as its code draws them before training, in float32; unquantised.

    Raises:
        SubjectError: a kind of model that cannot be read.
    """
    import torch

    kind = _model_class(config, folder)
    check_sizes(config.get_text_config(), folder)
    for part in (config, config.get_text_config()):
        if hasattr(part, "quantization_config"):
            del part.quantization_config
        part.dtype = torch.float32
    return kind(config)


def model_config(folder: Path) -> Any:
    """transformers' config of a folder.

    Raises:
        SubjectError: it cannot be read, or is of a kind that transformers does not have.
    """
    import json

    from transformers import CONFIG_MAPPING, AutoConfig, __version__

    there = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = there.get("model_type") if isinstance(there, dict) else None
    if isinstance(kind, str) and kind not in CONFIG_MAPPING:
        raise SubjectError(
            f"loading the subject {folder}: its config.json says model_type {kind[:60]!r}, which transformers "
            f"{__version__} does not have. A newer version may; code in a model folder is never run."
        )
    named = there.get("architectures") if isinstance(there, dict) else None
    if named is not None and not (isinstance(named, list) and all(isinstance(one, str) for one in named)):
        raise SubjectError(
            f"loading the subject {folder}: architectures in its config.json is no list of names. Copy the file again."
        )
    try:
        return AutoConfig.from_pretrained(str(folder), **LOCAL)
    except Exception as error:
        if isinstance(kind, str):
            raise _refusal(folder, error) from error
        raise SubjectError(
            f"loading the subject {folder}: its config.json states no model_type ({first_line(error)}). Check that the "
            "folder is whole and holds a causal language model; copy config.json again."
        ) from error


def _model_class(config: Any, folder: Path) -> Any:
    """transformers' class for a config: a causal language model, or a multimodal one without its towers.

    Raises:
        SubjectError: neither.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MULTIMODAL_LM_MAPPING

    for mapping in (MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MULTIMODAL_LM_MAPPING):
        if type(config) in mapping:
            kind: Any = mapping[type(config)]
            return text_only(kind) if is_wrapper(config) else kind
    named = ", ".join(config.architectures or []) or "no architectures named"
    raise SubjectError(
        f"loading the subject {folder}: it is a {config.model_type} ({named}), which is no causal language model and "
        "contains none. Give a decoder-only language model, or a multimodal model that has one."
    )


def _refusal(folder: Path, error: BaseException, *, quantised: str | None = None) -> SubjectError:
    first = first_line(error, 240)
    if quantised is not None:
        return SubjectError(
            f"loading the subject {folder}: its weights are quantised by {quantised}, and transformers cannot read "
            f"them here ({type(error).__name__}: {first}). Check that the folder is whole, or give the model "
            "unquantised or as a GGUF."
        )
    if isinstance(error, ImportError):
        todo = "Install the package that it needs."
    elif isinstance(error, OSError) or type(error).__name__ in DAMAGE:
        todo = "Check that the folder is whole; copy it again."
    else:
        todo = "Either this kind of model is not supported, or its config.json is not that of its weights."
    return SubjectError(f"loading the subject {folder}: transformers cannot ({type(error).__name__}: {first}). {todo}")
