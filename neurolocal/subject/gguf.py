"""GGUF -> a Hugging Face folder in the cache, dequantised once, and another one with its tokenizer.

Invariant: the folders are named by the GGUF's SHA-256 and appear complete or not at all (made beside, then renamed).
The weights are in the dtype of the run, which is what loading a float32 folder in that dtype gives: each weight is
dequantised in float32 and rounded once.
The tokenizer is not the one that transformers makes of a GGUF: that one does not know how the text is to be split.
Cost: one conversion a dtype, in memory and on the disk 2 bytes a weight in bfloat16 and float16, 4 in float32; a model
that is split into several files is joined for it. Nothing after the first time.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from neurolocal.errors import SubjectError, first_line
from neurolocal.files import appearing, cache_folder
from neurolocal.subject.gguf_header import read_header, read_tensors
from neurolocal.subject.gguf_parts import gguf_parts, join_parts
from neurolocal.subject.gguf_reading import quick_reading
from neurolocal.subject.tokenizers.gguf_fields import read_vocabulary
from neurolocal.subject.tokenizers.gguf_judge import (
    compare_with_llama_cpp,
    folder_encoder,
    may_ask_again,
    read_record,
    record_line,
    token_texts,
    write_record,
)
from neurolocal.subject.tokenizers.gguf_write import write_gguf_tokenizer
from neurolocal.subject.weights import require_tensors

TOKENIZER_VERSION = 1
"""Counts the ways in which a tokenizer was written; those of an older way in the cache are not read."""

TOKENIZER = ("tokenizer.ggml.",)
"""How the metadata keys of the tokenizer begin; their texts are read before the tensors are, since they may be none."""

SPECIAL_ID = re.compile(r"tokenizer\.ggml\.\w+_token_id")
"""The metadata keys that name special tokens."""


def dequantised(path: Path, sha256: str, *, dtype: str = "float32") -> Path:
    """The Hugging Face folder of a GGUF file, made if it is not in the cache. It holds no tokenizer.

    Args:
        path: the file, or any part of a split one.
        sha256: what names the model.
        dtype: what the model will be loaded in; its float32 folder is used for every dtype, if it is there.

    Raises:
        SubjectError: the file is no complete GGUF, or its architecture is unknown to transformers.
    """
    whole = cache_folder("subjects") / sha256
    folder = whole if dtype == "float32" else whole.with_name(f"{sha256}-{dtype}")
    for there in (folder, whole):
        if (there / "config.json").is_file():
            return there
    with (
        appearing(folder, "config.json") as beside,
        tempfile.TemporaryDirectory(prefix=".gguf-", dir=folder.parent) as scratch,
    ):
        parts = gguf_parts(path)
        for part in parts:
            _check_whole(part, without_tensors=len(parts) > 1)
        joined = path if len(parts) == 1 else _joined(parts, Path(scratch))
        _convert(_without_unset_ids(joined, Path(scratch)), beside, path, dtype=dtype)
    return folder


def gguf_tokenizer(path: Path, sha256: str) -> Path:
    """The folder with the tokenizer of a GGUF file, made and compared with llama.cpp if it is not in the cache.

    Raises:
        SubjectError: the file is damaged, has no tokenizer, or one that is not known here.
    """
    first = gguf_parts(path)[0]
    folder = cache_folder("tokenizers") / f"{sha256}-{TOKENIZER_VERSION}"
    if (folder / "tokenizer_config.json").is_file():
        if may_ask_again(read_record(folder)):
            _judge(first, folder)
        return folder
    with appearing(folder, "tokenizer_config.json") as beside:
        write_gguf_tokenizer(first, beside)
        _judge(first, beside)
    return folder


def gguf_tokenizer_line(folder: Path) -> str:
    """What the user should know of a folder from `gguf_tokenizer`, in one line; empty where its ids are llama.cpp's."""
    return record_line(read_record(folder))


def _judge(path: Path, folder: Path) -> None:
    write_record(folder, compare_with_llama_cpp(path, folder_encoder(folder), token_texts(read_vocabulary(path))))


def _joined(parts: list[Path], scratch: Path) -> Path:
    """The parts of a split model as one file."""
    whole = scratch / "joined.gguf"
    try:
        join_parts(parts, whole)
    except OSError:
        raise
    except Exception as error:  # a truncated part raises index, value, struct or decode errors
        raise _broken(parts[0]) from error
    return whole


def _check_whole(path: Path, *, without_tensors: bool = False) -> None:
    """Compare the file's length with the end of the last tensor according to its header.

    A part of a split model may be without tensors: usually the first is.
    """
    from gguf import GGML_QUANT_SIZES

    try:
        tensors, data = read_tensors(path, read_header(path, TOKENIZER))
        end = 0
        for one in tensors:
            block, size = GGML_QUANT_SIZES[one.kind]  # type: ignore[index]  an IntEnum's number is its member
            end = max(end, data + one.offset + one.elements // block * size)
    except Exception as error:  # a truncated file raises index, value, decode or mapping errors
        raise _broken(path) from error
    if (end == 0 and not without_tensors) or end > path.stat().st_size:
        raise _broken(path)


def _broken(path: Path) -> SubjectError:
    return SubjectError(
        f"reading the subject {path}: the GGUF is cut short or damaged "
        f"({path.stat().st_size:,} bytes, its header promises more or cannot be read). Copy the file again."
    )


def _convert(source: Path, folder: Path, path: Path, *, dtype: str) -> None:
    """Write the model in the file `source` into a folder; `path` is how the user named it."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    where: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    try:
        with quick_reading():
            config = transformers.AutoConfig.from_pretrained(str(source.parent), **where)
            exact = _dtype_to_convert_in(source, config, getattr(torch, dtype))
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
                str(source.parent), config=config, dtype=exact, output_loading_info=True, **where
            )
        model, info = loaded
    except Exception as error:  # transformers raises many types here
        first = first_line(error, 200)
        raise SubjectError(
            f"dequantising {path}: transformers cannot read it ({type(error).__name__}: {first}). "
            "Give the model as a Hugging Face folder instead."
        ) from error
    require_tensors(model, info["missing_keys"], path)
    # The weights are plain numbers now; with the attributes of quantisation transformers would refuse to save them.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    # transformers drew an unembedding that the file lacks at random; it is not saved, so the folder lacks it too.
    lacking = set(info["missing_keys"])
    kept = {name: x for name, x in model.state_dict().items() if name not in lacking} if lacking else None
    model.save_pretrained(folder, state_dict=kept)


def _dtype_to_convert_in(source: Path, config: Any, dtype: Any) -> Any:
    """The dtype, where transformers rounds every weight to it once, from float32; otherwise float32.

    Some architectures are dequantised in the dtype itself, and some models keep a few of their weights in float32.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.integrations.gguf.utils import is_gguf_arch_supported

    name = read_header(source, ("general.architecture",)).values.get("general.architecture")
    if dtype == torch.float32 or is_gguf_arch_supported(str(name)):
        return torch.float32
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    kept = {*(model._keep_in_fp32_modules or ()), *(model._keep_in_fp32_modules_strict or ())}
    return torch.float32 if kept else dtype


def _without_unset_ids(path: Path, scratch: Path) -> Path:
    """The file, or a copy without the special ids that are outside its vocabulary.

    Some converters write 4294967295 for "none"; transformers takes it for an id and fails. A key is removed by changing
    one letter, so that no reader knows it and every offset in the file stays the same.
    """
    header = read_header(path, TOKENIZER)
    tokens = header.values.get("tokenizer.ggml.tokens")
    unset = [
        name
        for name, value in header.values.items()
        if tokens is not None and SPECIAL_ID.fullmatch(name) and isinstance(value, int) and not 0 <= value < len(tokens)
    ]
    if not unset:
        return path
    copy = scratch / path.name
    if copy != path:  # a joined one is a copy already
        shutil.copyfile(path, copy)
    with copy.open("r+b") as file:
        for name in unset:
            file.seek(header.places[name])
            file.write(b"-")
    return copy
