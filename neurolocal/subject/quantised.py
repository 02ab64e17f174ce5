"""Quantised folders: read as plain weights where transformers can, else refused by the name of what is missing.

Invariant: weights that can be dequantised are, so that an out projection's weight is what it multiplies with; FP8
blocks have the size that the config says, also where the last one is cut off. (transformers 5.23 divides the matrix
into equal blocks instead: of 192 rows in blocks of 128 it scales rows 96 to 127 by the next block's scale.)
Cost: the weights in the dtype that was asked for, two to eight times the size of the files.
"""

# pyright: reportPrivateUsage=false
# transformers has no public place to dequantise one tensor.

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neurolocal.errors import SubjectError

PACKAGES = {
    "gptq": ("optimum", "gptqmodel"),
    "awq": ("gptqmodel",),
    "bitsandbytes": ("bitsandbytes",),
    "compressed-tensors": ("compressed_tensors",),
    "auto-round": ("auto_round",),
    "aqlm": ("aqlm",),
    "hqq": ("hqq",),
    "quanto": ("optimum", "optimum.quanto"),
    "torchao": ("torchao",),
    "quark": ("quark",),
    "spqr": ("spqr_quant",),
    "vptq": ("vptq",),
}
"""The packages without which transformers cannot read a method's weights."""

DEQUANTISED = ("fp8", "mxfp8", "mxfp4", "compressed-tensors")
"""The methods whose weights transformers turns into plain ones."""

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)


def quantisation(config: Any) -> str | None:
    """The method by which a model's weights are quantised; None where they are not."""
    there = _settings(config)
    if there is None:
        return None
    stated = there if isinstance(there, dict) else there.to_dict()
    if stated.get("load_in_4bit") or stated.get("load_in_8bit"):
        return "bitsandbytes"
    method = stated.get("quant_method")
    return str(getattr(method, "value", method))


@contextlib.contextmanager
def dequantising(config: Any, folder: Path, dtype: torch.dtype) -> Generator[None, None, None]:
    """While the weights are read: transformers dequantises them where it can.

    Args:
        config: of the model; its quantisation is told to dequantise.
        folder: of the model.
        dtype: of the plain weights.

    Raises:
        SubjectError: a method that transformers does not know, or whose package is missing.
    """
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    method = quantisation(config)
    if method is None:
        yield
        return
    if method not in {*AUTO_QUANTIZER_MAPPING, "bitsandbytes"}:
        raise SubjectError(
            f"loading the subject {folder}: its weights are quantised by {method[:40]!r}, which transformers does not "
            "know. Give the model unquantised, or as a GGUF."
        )
    if missing := [name for name in PACKAGES.get(method, ()) if not _installed(name)]:
        raise SubjectError(
            f"loading the subject {folder}: its weights are quantised by {method}, for which the package "
            f"{missing[0]} is not installed. Install it, or give the model unquantised or as a GGUF."
        )
    settings = _settings(config) or {}
    if method in DEQUANTISED:
        settings["dequantize"] = True
    original = Fp8Dequantize._dequantize_one
    Fp8Dequantize._dequantize_one = _fp8_blocks(settings.get("weight_block_size"), original, dtype)
    try:
        yield
    finally:
        Fp8Dequantize._dequantize_one = original


def cast_rest(model: Any, dtype: torch.dtype) -> None:
    """Cast the weights that were not quantised; transformers leaves norms and embeddings as they are in the file."""
    exact = [*(model._keep_in_fp32_modules or ()), *(model._keep_in_fp32_modules_strict or ())]
    for name, tensor in model.named_parameters():
        if tensor.is_floating_point() and not tensor.is_meta and not any(part in name for part in exact):
            tensor.data = tensor.data.to(dtype)


def _settings(config: Any) -> Any:
    """The quantisation that a config states: a dictionary as it was read, later transformers' object."""
    for one in (config, config.get_text_config()):
        if (there := getattr(one, "quantization_config", None)) is not None:
            return there
    return None


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of `optimum.quanto`, optimum itself
        return False


def _fp8_blocks(size: Any, original: Callable[..., Tensor], dtype: torch.dtype) -> Callable[..., Tensor]:
    """Dequantisation with blocks of the stated size; the last of a row or column may be cut off."""

    def dequantise(self: Any, quantized: Tensor, scales: Tensor, output_dtype: torch.dtype | None = None) -> Tensor:
        output_dtype = output_dtype or dtype  # transformers itself would take the scales' or bfloat16
        rows, columns = quantized.shape[-2:]
        in_blocks = size is not None and scales.ndim >= 2 and quantized.dtype in FP8
        height, width = (rows, columns) if size is None else size
        if not in_blocks or tuple(scales.shape[-2:]) != (-(-rows // height), -(-columns // width)):
            return original(self, quantized, scales, output_dtype=output_dtype)  # other blocks, as experts may have
        if scales.dtype == torch.uint8:
            scales = (scales.float() - 127.0).exp2()
        factor = scales.float().repeat_interleave(height, -2)[..., :rows, :]
        factor = factor.repeat_interleave(width, -1)[..., :columns]
        return (quantized.float() * factor).to(output_dtype)

    return dequantise
