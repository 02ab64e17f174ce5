"""Run by `neurolocal.bounded`: a tokenizer or weight file is read by its library, as the program will read it.

It imports nothing of this package. Cost: reading the file; of weights the header alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEXTS = ["The cat sat.", " 12  é\n", "日本語 🎉", ""]
"""Texts that are tokenised."""

MOST = 1 << 24
"""Ids from which a tokenizer is not written: the library lists every id that has no token."""


def answer(question: Any) -> None:
    """Read the file of `[package, path]`; any exception refuses it."""
    package, path = question
    READERS[package](path)


def _sentencepiece(path: str) -> None:
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor()
    processor.LoadFromSerializedProto(Path(path).read_bytes())
    for text in TEXTS:
        processor.decode(processor.encode(text, out_type=int))
        processor.encode(text, out_type="offset_mapping")
        processor.normalize(text)
    for i in range(processor.get_piece_size()):
        processor.id_to_piece(i)


def _tokenizers(path: str) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if max(tokenizer.get_vocab().values(), default=0) < MOST:
        Tokenizer.from_str(tokenizer.to_str())


def _safetensors(path: str) -> None:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        file.metadata()
        for name in file.keys():  # noqa: SIM118  it is no dictionary
            file.get_slice(name).get_shape()


READERS = {"sentencepiece": _sentencepiece, "tokenizers": _tokenizers, "safetensors": _safetensors}
"""Package -> what reads a file with it."""
