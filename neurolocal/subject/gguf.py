"""GGUF -> a Hugging Face folder in the cache, dequantised once to float32.

Invariant: the folder is named by the GGUF's SHA-256 and appears whole or not at all (made beside, then renamed).
Cost: SmolLM2-135M takes about 25 s the first time and 540 MB of disk; nothing after that. The folder is named by the
float32 values of the quantised weights: 4 bytes a weight, exact, where bfloat16 would round them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from neurolocal.cache import cache_folder
from neurolocal.errors import SubjectError

MAGIC = b"GGUF"


def is_gguf(path: Path) -> bool:
    """Whether the file begins as a GGUF does."""
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def dequantised(path: Path, sha256: str) -> Path:
    """The Hugging Face folder of a GGUF file, made now if the cache does not hold it.

    Raises:
        SubjectError: the file is no whole GGUF, or of an architecture that transformers cannot read.
    """
    folder = cache_folder("subjects") / sha256
    if (folder / "config.json").is_file():
        return folder
    _check_whole(path)
    beside = Path(tempfile.mkdtemp(prefix=f".{sha256[:12]}-", dir=folder.parent))
    try:
        _convert(path, beside)
        try:
            os.rename(beside, folder)  # noqa: PTH104  another process may have been faster: then this raises
        except OSError:
            if not (folder / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _check_whole(path: Path) -> None:
    """Compare the file's length with the end of the last tensor that its header names."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        end = max((int(t.data_offset) + int(t.n_bytes) for t in reader.tensors), default=0)
    except Exception as error:  # a cut file fails wherever the cut is: index, value, decode or mapping errors
        raise _broken(path) from error
    if end == 0 or end > path.stat().st_size:
        raise _broken(path)


def _broken(path: Path) -> SubjectError:
    return SubjectError(
        f"reading the subject {path}: the GGUF is cut short or damaged "
        f"({path.stat().st_size:,} bytes, its header promises more or cannot be read). Copy the file again."
    )


def _convert(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name, "local_files_only": True}
    try:
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**where)
    except Exception as error:  # transformers raises many kinds here
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise SubjectError(
            f"dequantising {path}: transformers cannot read it ({type(error).__name__}: {first}). "
            "Give the model as a Hugging Face folder instead."
        ) from error
    # The weights are plain float32 from here on; the marks of quantisation would forbid saving them.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
