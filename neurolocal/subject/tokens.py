"""Tokenizer -> the bytes of each token id, and text -> the ids that stand for exactly that text.

Invariant: `vocabulary(tokenizer).text(ids)` is what the tokenizer decodes, without its clean-ups.
Cost: one pass over the vocabulary; encoding costs what the tokenizer does, and one pass over the text.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from neurolocal.words import Vocabulary

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def vocabulary(tokenizer: Any, d_vocab: int) -> Vocabulary:
    """The bytes of every id of a Hugging Face tokenizer.

    Byte-level BPE (GPT-2, Llama 3) maps each character of a token to one byte; SentencePiece (Llama 2, Gemma) writes a
    space as U+2581 and a bare byte as `<0x0A>`. Ids past the tokenizer's own (padding of the embedding) are empty.
    """
    size = max(d_vocab, len(tokenizer))
    byte_level = _is_byte_level(tokenizer)
    specials = set(tokenizer.all_special_ids)
    added = {i: t.content for i, t in tokenizer.added_tokens_decoder.items()}
    specials |= {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    tokens = [b""] * size
    for i, token in enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))):
        if token is None:
            continue
        if i in added:
            tokens[i] = added[i].encode("utf-8", "replace")
        else:
            tokens[i] = _byte_level_bytes(token) if byte_level else _sentencepiece_bytes(token)
    special = np.zeros(size, dtype=bool)
    special[[i for i in specials if i < size]] = True
    return Vocabulary(tokens, special)


def encode_documents(
    tokenizer: Any, vocab: Vocabulary, texts: list[str]
) -> list[tuple[Int32[np.ndarray, "_"], Int64[np.ndarray, "_"] | None]]:
    """Ids of whole texts, without special tokens, and the offset at which each token begins in its text, ascending.

    Offsets are counted in code points; a token that begins inside a character has the offset of the character. Where
    the bytes of the ids joined are the text, the offsets follow from them. The tokenizer's own offsets are slower to
    get, and some omit the space before a word; they are used for a text that the tokenizer normalises (None where it
    has none).
    """
    if not texts:
        return []
    fast = bool(getattr(tokenizer, "is_fast", False))
    found = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
    lengths = np.fromiter(map(len, vocab.tokens), np.int64, len(vocab.tokens))
    documents = []
    for i, (text, listed) in enumerate(zip(texts, found["input_ids"], strict=True)):
        ids = np.array(listed, dtype=np.int32)
        starts = _starts(text, b"".join(map(vocab.tokens.__getitem__, listed)), lengths[ids])
        if starts is None and fast:
            offsets = itertools.chain.from_iterable(found.encodings[i].offsets)
            starts = np.maximum.accumulate(np.fromiter(offsets, np.int64, 2 * len(ids))[::2])
        documents.append((ids, starts))
    return documents


def _starts(text: str, said: bytes, lengths: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"] | None:
    """The offsets of tokens whose bytes joined are `said`; None where these are not the text."""
    expected = text.encode("utf-8", "replace")
    space = int(said != expected and said[:1] == b" ")  # SentencePiece puts a space of its own before a text
    if said[space:] != expected:
        return None
    begins = np.maximum(np.cumsum(lengths) - lengths - space, 0)
    if len(expected) == len(text):
        return begins
    first = (np.frombuffer(expected, np.uint8) & 0xC0) != 0x80
    return np.append(np.cumsum(first) - 1, len(text))[begins]  # a token without bytes may come at the very end


def encode_exactly(tokenizer: Any, vocab: Vocabulary, text: str) -> list[int] | None:
    """Ids whose text is exactly `text` in the middle of a row, or None where the tokenizer has none.

    SentencePiece tokenizers put a space before a text. So a text with a leading space is also tried without it, and one
    without is encoded after a line break, which is then removed.
    """
    for attempt in (text, text.removeprefix(" ")):
        ids = tokenizer(attempt, add_special_tokens=False)["input_ids"]
        if ids and vocab.text(ids) == text:
            return ids
    head = tokenizer("\n", add_special_tokens=False)["input_ids"]
    ids = tokenizer("\n" + text, add_special_tokens=False)["input_ids"]
    if ids[: len(head)] == head and vocab.text(ids[len(head) :]) == text:
        return ids[len(head) :]
    return None


def _is_byte_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and "ByteLevel" in json.dumps(json.loads(backend.to_str()).get("decoder"))


def _byte_table() -> dict[str, int]:
    """GPT-2's table, from its paper's code: printable bytes stand for themselves, the others for U+0100 and up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(b): b for b in printable}
    for n, b in enumerate(b for b in range(256) if b not in printable):
        table[chr(256 + n)] = b
    return table


_BYTE_OF = _byte_table()


def _byte_level_bytes(token: str) -> bytes:
    return b"".join(bytes([_BYTE_OF[c]]) if c in _BYTE_OF else c.encode("utf-8", "replace") for c in token)


def _sentencepiece_bytes(token: str) -> bytes:
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace("\u2581", " ").encode("utf-8", "replace")
