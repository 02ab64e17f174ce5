"""The text of each token, as bytes, by the tokenizer's own decoder.

Invariant: the bytes of a row's tokens joined are the row's text: what the decoder gives, without its clean-up at the
beginning and end of a text. Cost: one call of the decoder for each id; byte-level tokenizers need none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Set
from typing import Any

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""A token that stands for one byte, where the decoder has a byte fallback."""

ANCHOR = "A"
"""A token put on both sides of the one that is decoded, so that nothing is removed from its ends."""

SPACE = "\u2581"
"""How SentencePiece writes a space."""


def token_bytes(pieces: Mapping[int, str], tokenizer: Any, *, added: Set[int]) -> dict[int, bytes]:
    """The bytes of every token.

    A byte-level decoder (GPT-2's, Llama 3's) maps every character of a token to one byte; a token with any other
    character stands for itself. A byte fallback gives `<0x0A>` one byte. Everything else is decoded between two other
    tokens: so WordPiece's `##ing` becomes `ing`, and its `the` becomes ` the`.

    Args:
        pieces: the tokenizer's own writing of each id.
        tokenizer: a `tokenizers.Tokenizer`; its decoder and pre-tokenizer are read.
        added: ids of added tokens, which byte-level BPE writes as they are.
    """
    decoder = _described(tokenizer.decoder)
    if "ByteLevel" in decoder or (not decoder and "ByteLevel" in _described(tokenizer.pre_tokenizer)):
        return {i: _plain(piece) if i in added else byte_level(piece) for i, piece in pieces.items()}
    text = _decoded(tokenizer.decoder) if decoder else _undecoded(_described(tokenizer.pre_tokenizer))
    falls_back = "ByteFallback" in decoder
    found = {}
    for i, piece in pieces.items():
        byte = BYTE.fullmatch(piece) if falls_back else None
        found[i] = bytes([int(byte[1], 16)]) if byte else _plain(text(piece))
    return found


def byte_level(piece: str) -> bytes:
    """The bytes of a token of byte-level BPE; a token with a character outside the table stands for itself."""
    try:
        return bytes(map(_BYTE_OF.__getitem__, piece))
    except KeyError:
        return _plain(piece)


def sentencepiece_bytes(piece: str, *, byte: bool) -> bytes:
    """The bytes of a SentencePiece piece; `byte`: it is of the type that stands for one byte."""
    found = BYTE.fullmatch(piece) if byte else None
    return bytes([int(found[1], 16)]) if found else piece.replace(SPACE, " ").encode("utf-8", "replace")


def _plain(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _decoded(decoder: Any) -> Callable[[str], str]:
    """A token's text between two others."""
    pair = decoder.decode([ANCHOR, ANCHOR])
    left = decoder.decode([ANCHOR])
    behind = pair.removeprefix(left)

    def text(piece: str) -> str:
        whole = decoder.decode([ANCHOR, piece, ANCHOR])
        if whole.startswith(left) and whole.endswith(behind):
            return whole[len(left) : len(whole) - len(behind)]
        return decoder.decode([piece])  # a decoder that removes repeated tokens, or joins in another way

    return text


def _undecoded(pre_tokenizer: str) -> Callable[[str], str]:
    """A token's text where the tokenizer has no decoder: tokens are joined by spaces, or carry their own."""
    if "Metaspace" in pre_tokenizer:
        return lambda piece: piece.replace(SPACE, " ")
    return lambda piece: f" {piece}"


def _described(part: Any) -> str:
    """A part of a tokenizer as its JSON; empty where there is none."""
    return "" if part is None else json.dumps(json.loads(part.__getstate__()))


def byte_letters() -> list[str]:
    """The letter that stands for each byte, from GPT-2's code: itself where it is printable, else U+0100 and up."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(others)) for b in range(256)]


_BYTE_OF = {letter: byte for byte, letter in enumerate(byte_letters())}
