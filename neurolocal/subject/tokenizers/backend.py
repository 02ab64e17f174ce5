"""What a `Tokenizer` needs of the library that computes the ids.

Invariant: ids are without special tokens around the text. Cost: nothing; it is a protocol.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

ControlTokens = Literal["token", "text"]
"""A control token that is written out in a text (`<|endoftext|>`): the control token, or the text that it is."""


@runtime_checkable
class Backend(Protocol):
    """One library's tokenizer."""

    kind: str
    """What it is, in words: `byte-level BPE`, `WordPiece`, `SentencePiece BPE` ..."""

    faithful: bool
    """Whether it promises that a text is what its tokens say, but for a space before it."""

    def encode(self, texts: list[str], *, control: ControlTokens) -> list[list[int]]:
        """The ids of each text."""
        ...

    def starts(self, text: str, *, control: ControlTokens) -> Int64[np.ndarray, "n"]:
        """The offset of each token of one text, in code points."""
        ...

    def decode(self, ids: list[int]) -> str:
        """The library's own text of some ids, control tokens included."""
        ...

    def id_of(self, text: str) -> int | None:
        """The id of a token by the tokenizer's own writing; None where it has none."""
        ...

    def token_bytes(self) -> dict[int, bytes]:
        """The bytes of every id."""
        ...

    def control_ids(self) -> set[int]:
        """The ids that it marks as control tokens itself."""
        ...

    def cuttable(self) -> bool:
        """Whether a long text may be tokenised in parts; see `cuts.py`."""
        ...

    def save(self, folder: Path) -> None:
        """Write the library's own file into a folder."""
        ...

    def fingerprint(self) -> str:
        """All that decides its ids, as one text."""
        ...
