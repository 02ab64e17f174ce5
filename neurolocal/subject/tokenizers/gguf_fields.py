"""The tokenizer's metadata of a GGUF file: tokens, types, scores, merges, special ids and flags.

Invariant: arrays are as long as the vocabulary, ids are inside it, and no two tokens have the same text.
Cost: one pass over the metadata, with one Python step for each token and merge; the tensors are not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from neurolocal.errors import SubjectError, first_line
from neurolocal.subject.gguf_header import read_header

WANTED = ("tokenizer.", "general.name", "general.architecture")
"""The keys that are read."""

UNSET = 0xFFFFFFFF
"""What some converters write for a special token that a model does not have."""

ROLES = {
    "bos": "bos",
    "eos": "eos",
    "unk": "unknown",
    "sep": "seperator",
    "pad": "padding",
    "cls": "cls",
    "mask": "mask",
}
"""The special tokens, and how the keys name them; the format itself writes `seperator`."""

UNDEFINED, NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(7)
"""The types of tokens."""


class GGUFVocabulary(NamedTuple):
    """A vocabulary as the file states it."""

    model: str
    """The kind: `gpt2` (BPE), `llama` (SentencePiece BPE), `t5` (unigram), `bert` (WordPiece) ..."""
    pre: str | None
    """The name of the pre-tokenizer of a BPE vocabulary."""
    tokens: list[str]
    """The text of each id."""
    types: Int32[np.ndarray, "d_vocab"]
    """The type of each id; all `NORMAL` where the file has none."""
    scores: Float32[np.ndarray, "d_vocab"] | None
    """The score of each id."""
    merges: list[str] | None
    """The merges of BPE in their order, two texts joined by a space."""
    ids: dict[str, int]
    """The ids of special tokens by role; unset ones are left out."""
    more: dict[str, Any]
    """Every other key that begins with `tokenizer.`, and `general.name` and `general.architecture`."""


def read_vocabulary(path: Path) -> GGUFVocabulary:
    """Read the tokenizer's part of a GGUF file.

    Raises:
        SubjectError: the file is damaged, has no tokenizer, or its parts don't belong together.
    """
    try:
        found = read_header(path, WANTED).values
    except Exception as error:  # a hostile file raises index, value, struct, decode, key and mapping errors
        first = first_line(error, 120)
        raise _wrong(path, f"its metadata is cut short or damaged ({first})", "Copy the file again.") from error
    model, tokens = found.pop("tokenizer.ggml.model", None), found.pop("tokenizer.ggml.tokens", None)
    if not isinstance(model, str) or not isinstance(tokens, list) or model in ("none", "no_vocab"):
        raise _wrong(path, "the file has none")
    n = len(tokens)
    for i, token in enumerate(tokens):
        if not token or "\0" in token:  # llama.cpp reads a token up to a NUL, and names an empty one so
            tokens[i] = token.partition("\0")[0] or f"[EMPTY_{i}]"
    if len(set(tokens)) < n:
        raise _wrong(path, f"{n - len(set(tokens)):,} of its {n:,} tokens have the text of another one")
    types = _per_token(path, found, "token_type", n)
    scores = _per_token(path, found, "scores", n)
    merges = found.pop("tokenizer.ggml.merges", None)
    if merges is not None and not (isinstance(merges, list) and all(isinstance(one, str) for one in merges)):
        raise _wrong(path, "its merges are not texts")
    pre = found.pop("tokenizer.ggml.pre", None)
    if not (pre is None or isinstance(pre, str)):
        raise _wrong(path, f"its pre-tokenizer is {type(pre).__name__}, expected a name")
    return GGUFVocabulary(
        model=model,
        pre=pre,
        tokens=tokens,
        types=np.full(n, NORMAL, np.int32) if types is None else types.astype(np.int32),
        scores=None if scores is None else scores.astype(np.float32),
        merges=merges,
        ids=_ids(path, found, n),
        more=found,
    )


def _wrong(path: Path, what: str, todo: str = "") -> SubjectError:
    todo = todo or "Give the model's Hugging Face folder instead, or its tokenizer's folder as --tokenizer."
    return SubjectError(f"reading the tokenizer of {path}: {what}. {todo}")


def _per_token(path: Path, found: dict[str, Any], key: str, n: int) -> np.ndarray | None:
    """An array with a number for each token; the entries beyond the vocabulary are ignored, as llama.cpp does."""
    numbers = found.pop(f"tokenizer.ggml.{key}", None)
    if numbers is None:
        return None
    if not isinstance(numbers, np.ndarray) or len(numbers) < n:
        got = f"{len(numbers):,}" if isinstance(numbers, np.ndarray) else "no"
        raise _wrong(path, f"it has {n:,} tokens and {got} numbers under tokenizer.ggml.{key}")
    if not np.isfinite(numbers[:n]).all():
        raise _wrong(path, f"a number under tokenizer.ggml.{key} is not finite")
    return numbers[:n]


def _ids(path: Path, found: dict[str, Any], n: int) -> dict[str, int]:
    ids = {}
    for role, name in ROLES.items():
        value = found.pop(f"tokenizer.ggml.{name}_token_id", None)
        if value is None or value == UNSET or value == -1:
            continue
        if type(value) is not int or not 0 <= value < n:
            raise _wrong(path, f"the id of its {role} token is {value}, and it has {n:,} tokens")
        ids[role] = value
    return ids
