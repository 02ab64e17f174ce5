"""GGUF -> a Hugging Face folder in the cache, dequantised once to float32.

Invariant: the folder is named by the GGUF's SHA-256 and appears complete or not at all (made beside, then renamed).
Cost: one conversion, and 4 bytes a weight on the disk: float32 holds a dequantised weight exactly, bfloat16 would round
it. Nothing after the first time.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

from neurolocal.errors import SubjectError
from neurolocal.files import cache_folder
from neurolocal.subject.weights import require_tensors

MAGIC = b"GGUF"

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a number by its type; strings and arrays store their length, and arrays of arrays are refused."""

STRING, ARRAY = 8, 9

SPECIAL_ID = re.compile(r"tokenizer\.ggml\.\w+_token_id")
"""The metadata keys that name special tokens."""


def is_gguf(path: Path) -> bool:
    """Whether the file begins with the GGUF magic."""
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def dequantised(path: Path, sha256: str) -> Path:
    """The Hugging Face folder of a GGUF file, made if it is not in the cache.

    Raises:
        SubjectError: the file is no complete GGUF, or its architecture is unknown to transformers.
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
    """Compare the file's length with the end of the last tensor according to its header."""
    from gguf import GGUFReader

    try:
        _check_lengths(path)
        reader = GGUFReader(path)
        end = max((int(t.data_offset) + int(t.n_bytes) for t in reader.tensors), default=0)
    except Exception as error:  # a truncated file raises index, value, decode or mapping errors
        raise _broken(path) from error
    if end == 0 or end > path.stat().st_size:
        raise _broken(path)


def _check_lengths(path: Path) -> None:
    """Check every length in the metadata. GGUFReader does not, and would loop for ever on an array of 2^60 numbers.

    Raises:
        ValueError, struct.error: an impossible length or type.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        magic_and_version = file.read(8)
        order = ">" if magic_and_version[4:6] == b"\0\0" else "<"

        def number(kind: str) -> int:
            return struct.unpack(order + kind, file.read(struct.calcsize(order + kind)))[0]

        def skip(n: int) -> None:
            if n > size - file.tell():
                raise ValueError("a length beyond the end of the file")
            file.seek(n, os.SEEK_CUR)

        number("Q")  # tensors; each is read by GGUFReader, which fails at the end of the file
        for _ in range(number("Q")):
            skip(number("Q"))
            kind = number("I")
            inner, n = (number("I"), number("Q")) if kind == ARRAY else (kind, 1)
            if inner == STRING:
                for _ in range(n):
                    skip(number("Q"))
            else:
                skip(n * SIZES[inner])


def _broken(path: Path) -> SubjectError:
    return SubjectError(
        f"reading the subject {path}: the GGUF is cut short or damaged "
        f"({path.stat().st_size:,} bytes, its header promises more or cannot be read). Copy the file again."
    )


def _convert(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with tempfile.TemporaryDirectory(prefix=".gguf-", dir=folder.parent) as scratch:
            source = _without_unset_ids(path, Path(scratch))
            where = {
                "pretrained_model_name_or_path": str(source.parent),
                "gguf_file": source.name,
                "local_files_only": True,
            }
            loaded: Any = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32, output_loading_info=True)
            model, info = loaded
            tokenizer = AutoTokenizer.from_pretrained(**where)
    except Exception as error:  # transformers raises many types here
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise SubjectError(
            f"dequantising {path}: transformers cannot read it ({type(error).__name__}: {first}). "
            "Give the model as a Hugging Face folder instead."
        ) from error
    require_tensors(model, info["missing_keys"], path)
    # The weights are plain float32 now; with the attributes of quantisation transformers would refuse to save them.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    # transformers drew an unembedding that the file lacks at random; it is not saved, so the folder lacks it too.
    lacking = set(info["missing_keys"])
    kept = {name: x for name, x in model.state_dict().items() if name not in lacking} if lacking else None
    model.save_pretrained(folder, state_dict=kept)
    tokenizer.save_pretrained(folder)


def _without_unset_ids(path: Path, scratch: Path) -> Path:
    """The file, or a copy without the special ids that are outside its vocabulary.

    Some converters write 4294967295 for "none"; transformers takes it for an id and fails. A key is removed by changing
    one letter, so that no reader knows it and every offset in the file stays the same.
    """
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    tokens = fields.get("tokenizer.ggml.tokens")
    unset = [
        field
        for name, field in fields.items()
        if tokens is not None
        and SPECIAL_ID.fullmatch(name)
        and not 0 <= int(field.parts[field.data[0]][0]) < len(tokens.data)
    ]
    if not unset:
        return path
    copy = scratch / path.name
    shutil.copyfile(path, copy)
    with copy.open("r+b") as file:
        for field in unset:
            file.seek(field.offset + 8)  # behind the length of the key
            file.write(b"-")
    return copy
