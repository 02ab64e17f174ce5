"""A GGUF's SentencePiece vocabulary (BPE or unigram) -> `tokenizer.model`, which the `sentencepiece` library reads.

Format: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto, written by hand, since it is
a dozen fields. Invariant: the parts of a text that was cut at its special tokens, each encoded alone, get llama.cpp's
ids. Known differences: llama.cpp also merges into control tokens (where a vocabulary has `<s`, the text `<s>` may
become the token `<s>`); it fails where a vocabulary lacks bytes and a text has another character; and its unigram puts
no space before a text of white space alone. Cost: one step for each token.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import Any

from neurolocal.errors import SubjectError
from neurolocal.subject.tokenizers.gguf_bpe import OTHERWISE
from neurolocal.subject.tokenizers.gguf_fields import (
    BYTE,
    CONTROL,
    NORMAL,
    UNDEFINED,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    GGUFVocabulary,
)
from neurolocal.subject.tokenizers.gguf_special import special_tokens
from neurolocal.subject.tokenizers.texts import SPACE

DEFAULT_IDS = {"llama": {"bos": 1, "eos": 2, "unk": 0}, "t5": {"eos": 1, "unk": 2, "pad": 0}}
"""The special tokens that llama.cpp assumes where a file states none."""

UNIGRAM, BPE = 1, 2

BYTE_TEXTS = [f"<0x{byte:02X}>" for byte in range(256)]


def sentencepiece_model(vocabulary: GGUFVocabulary, *, where: str) -> bytes:
    """The content of `tokenizer.model`.

    Args:
        vocabulary: of the kind `llama` (BPE) or `t5` (unigram).
        where: the file's name, for messages.

    Raises:
        SubjectError: it has no scores, or no unknown token.
    """
    v = vocabulary
    if v.scores is None:
        raise SubjectError(
            f"reading the tokenizer of {where}: its tokens have no scores, which SentencePiece needs. {OTHERWISE}"
        )
    bpe = v.model == "llama"
    prefix = bool(v.more.get("tokenizer.ggml.add_space_prefix", bpe))
    texts = list(v.tokens) if prefix else _escaped(v)
    falls_back = bpe and set(BYTE_TEXTS) <= set(texts)
    types = _types(v, texts, bpe=bpe, falls_back=falls_back, where=where)
    merge_spaces = not bpe and bool(v.more.get("tokenizer.ggml.remove_extra_whitespaces", False))
    trainer = _message(
        (3, BPE if bpe else UNIGRAM),
        (4, len(texts)),
        (35, falls_back),
        *((45 + n, texts[i]) for n, role in enumerate(("unk", "bos", "eos", "pad")) if (i := role_ids(v).get(role))
          is not None),
    )  # fmt: skip
    normalizer = _message(
        (1, "gguf"),
        (2, _charsmap(v, where) if not bpe else b""),
        (3, prefix or merge_spaces),  # llama.cpp's unigram puts a space before the first word also where it merges them
        (4, merge_spaces),
        (5, True),
    )
    scored = zip(texts, v.scores.tolist(), types, strict=True)
    pieces = ((1, _message((1, text), (2, score), (3, kind))) for text, score, kind in scored)
    return _message(*pieces, (2, trainer), (3, normalizer))


def role_ids(vocabulary: GGUFVocabulary) -> dict[str, int]:
    """The ids of special tokens by role, llama.cpp's defaults included."""
    n = len(vocabulary.tokens)
    usual = {role: i for role, i in DEFAULT_IDS.get(vocabulary.model, {}).items() if i < n}
    return usual | vocabulary.ids


def _escaped(v: GGUFVocabulary) -> list[str]:
    """The pieces: converters write a user's tokens with spaces, SentencePiece with U+2581.

    Not where a space is put before a text: llama.cpp finds these tokens before it puts it, the library would after.
    """
    known = set(v.tokens)
    texts = list(v.tokens)
    for i, kind in enumerate(v.types.tolist()):
        if kind == USER_DEFINED and " " in texts[i] and (escaped := texts[i].replace(" ", SPACE)) not in known:
            texts[i] = escaped
            known.add(escaped)
    return texts


def _types(v: GGUFVocabulary, texts: list[str], *, bpe: bool, falls_back: bool, where: str) -> list[int]:
    """A type for each piece with which the library finds what llama.cpp does."""
    special = special_tokens(v)
    unknown = [i for i, kind in enumerate(v.types.tolist()) if kind == UNKNOWN] or [role_ids(v).get("unk", -1)]
    if not 0 <= unknown[0] < len(texts):
        raise SubjectError(f"reading the tokenizer of {where}: it has no unknown token. {OTHERWISE}")
    found = []
    for i, kind in enumerate(v.types.tolist()):
        if i == unknown[0]:
            found.append(UNKNOWN)
        elif falls_back and re.fullmatch(r"<0x[0-9A-F]{2}>", texts[i]):
            found.append(BYTE)
        elif i in special.control:
            found.append(CONTROL)
        elif i in special.user:
            found.append(USER_DEFINED)
        elif kind == NORMAL or (bpe and kind in (UNUSED, UNDEFINED)):
            found.append(NORMAL)  # llama.cpp's BPE does not look at the type of what it merges
        else:
            found.append(UNUSED)
    return found


def _charsmap(v: GGUFVocabulary, where: str) -> bytes:
    """The compiled table of the normaliser, as the file holds it."""
    table = v.more.get("tokenizer.ggml.precompiled_charsmap")
    if table is None:
        return b""
    try:
        data = bytes(table.astype("u1"))
        (size,) = struct.unpack_from("<I", data)
    except (AttributeError, struct.error):
        data, size = b"", 0
    if not 0 < size < len(data) - 4 or size % 4:
        raise SubjectError(f"reading the tokenizer of {where}: the table of its normaliser is damaged. {OTHERWISE}")
    return data


def _message(*fields: tuple[int, Any]) -> bytes:
    """A protobuf message of (number, value): integers, float32, texts, and messages as bytes."""
    return b"".join(_fields(fields))


def _fields(fields: Iterable[tuple[int, Any]]) -> Iterable[bytes]:
    for number, value in fields:
        if isinstance(value, float):
            yield _varint(number << 3 | 5) + struct.pack("<f", value)
        elif isinstance(value, int):
            yield _varint(number << 3) + _varint(value)
        else:
            data = value.encode("utf-8") if isinstance(value, str) else value
            yield _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(n: int) -> bytes:
    found = bytearray()
    while n > 127:
        found.append(n & 127 | 128)
        n >>= 7
    found.append(n)
    return bytes(found)
