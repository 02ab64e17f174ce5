"""A model folder -> its tokenizer: from the files beside the weights, or from elsewhere on this machine.

Invariant: never a download, never remote code. Cost: reading the files.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from neurolocal.errors import SubjectError
from neurolocal.subject.names import snapshot

FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "tokenizer.model")
"""A folder with any of these has a tokenizer."""

SPECIAL = {"bos_token": ("<|BOS|>", "<s>", "<|endoftext|>"), "eos_token": ("<|EOS|>", "</s>", "<|endoftext|>")}
"""The texts by which special tokens of a bare tokenizer.json are recognised."""


def find_tokenizer(folder: Path, *, name: str | None = None, given: str | os.PathLike[str] | None = None) -> Any:
    """The tokenizer of a model folder, from this machine alone.

    Args:
        folder: of the model.
        name: of the tokenizer in the local hub cache, where the model's config names one.
        given: the user's choice, a folder or a name; it has priority over the folder, which has priority over `name`.

    Raises:
        SubjectError: no tokenizer is found.
    """
    beside = any((folder / file).is_file() for file in FILES)
    source = given if given is not None else folder if beside or name is None else name
    try:
        return _load(str(source))
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, ImportError …
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        where = "the local hub cache has no whole" if source is name else "no usable"
        raise SubjectError(
            f"loading the tokenizer of {folder}: {where} tokenizer at {source} ({type(error).__name__}: {first}). "
            f"Check that the folder is whole: put {FILES[0]} into it, or pass a tokenizer's folder as `tokenizer`."
        ) from error


def _load(source: str) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    folder = Path(source) if Path(source).is_dir() else snapshot(source)
    if not (folder / FILES[0]).is_file() or _names_a_model(folder / "config.json"):
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if (folder / FILES[1]).is_file():
        return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    # A bare tokenizer.json does not state which of its tokens begin and end a text.
    bare = PreTrainedTokenizerFast(tokenizer_file=str(folder / FILES[0]))
    known = bare.get_vocab()
    for role, texts in SPECIAL.items():
        if found := [text for text in texts if text in known]:
            setattr(bare, role, found[0])
    return bare


def _names_a_model(config: Path) -> bool:
    try:
        return "model_type" in json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False
