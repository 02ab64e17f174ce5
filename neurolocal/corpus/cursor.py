"""The position in the corpus after a batch, and the text that was read by then and is in no row yet.

Invariant: a run that resumes at a cursor makes the same batches as an uninterrupted one, provenance included.
Cost: a few numbers, and the rest: the end of the last document or part that was begun.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64


class Piece(NamedTuple):
    """Tokens of one document that are in no row yet; views, so cutting off a row copies nothing."""

    tokens: Int32[np.ndarray, "n"]
    """Token ids, in concat packing with the separator before a document."""
    character: Int64[np.ndarray, "n"]
    """Offset of each in the document's text, in code points; the separator's is 0; all -1 where unknown."""
    file: int
    """Number of the document's file."""
    record: int
    """Number of its record in the file."""
    subset: str
    """Its subset; empty: none."""

    def behind(self, n: int) -> Piece:
        """Without the first n tokens."""
        return Piece(self.tokens[n:], self.character[n:], self.file, self.record, self.subset)


@dataclass(frozen=True)
class Cursor:
    """Everything that a later run needs to resume with the next batch."""

    file: int = 0
    """Number of the next document's file."""
    record: int = 0
    """Number of the next document's record in it."""
    character: int = 0
    """Characters (or token ids) of that document that were read already, as it is a long one; 0: it is not begun."""
    rows: int = 0
    """Rows made so far: the next row's index."""
    batches: int = 0
    """Batches made so far."""
    documents: int = 0
    """Documents begun so far."""
    tokens: int = 0
    """Tokens of text in the rows so far, separators included: no BOS, no padding."""
    digest: str = ""
    """Chained SHA-256 of the rows so far: names the text that was analysed, in whatever files it was stored."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Records skipped so far, by reason."""
    subsets: dict[str, int] = field(default_factory=dict)
    """`tokens` by subset, names sorted; a separator counts to the document behind it."""
    control: int = 0
    """Control tokens that the documents read so far write out."""
    rest: tuple[Piece, ...] = field(default=(), repr=False, compare=False)
    """Text that was read but is not yet in a row; given the corpus, it follows from the other fields."""
    share: float = field(default=0.0, compare=False)
    """Share of the corpus's bytes on the disk that were read so far, for an estimate; 0 where unknown."""

    def facts(self) -> dict[str, Any]:
        """All fields but `rest` and `share`, as plain values."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("rest", "share")}


def rest_arrays(rest: Iterable[Piece]) -> dict[str, np.ndarray | list[str]]:
    """A cursor's rest as plain columns.

    Returns:
        `tokens` uint32 and `character` int64 of all pieces joined; `offsets` int64 of n + 1, where each piece begins
        and the last ends; `file`, `record` int64 and `subset` (a list of str), one a piece.
    """
    rest = list(rest)
    return {
        "tokens": np.concatenate([np.empty(0, np.uint32), *(piece.tokens.astype(np.uint32) for piece in rest)]),
        "character": np.concatenate([np.empty(0, np.int64), *(piece.character for piece in rest)]),
        "offsets": np.cumsum([0, *(len(piece.tokens) for piece in rest)], dtype=np.int64),
        "file": np.array([piece.file for piece in rest], dtype=np.int64),
        "record": np.array([piece.record for piece in rest], dtype=np.int64),
        "subset": [piece.subset for piece in rest],
    }


def rest_from(arrays: Mapping[str, Any]) -> tuple[Piece, ...]:
    """The inverse of `rest_arrays`; the columns may come from a damaged file.

    Raises:
        ValueError: a column is missing or of another type, lengths disagree, or numbers are impossible.
    """
    wanted = {"tokens": np.uint32, "character": np.int64, "offsets": np.int64, "file": np.int64, "record": np.int64}
    columns: dict[str, np.ndarray] = {}
    for name, dtype in wanted.items():
        column = columns[name] = np.asarray(arrays.get(name))
        if column.ndim != 1 or column.dtype != dtype:
            _refuse(f"{name} is {column.dtype} with {column.ndim} dimensions; expected {np.dtype(dtype)} with 1")
    tokens, character, offsets, file, record = columns.values()
    subset = list(arrays.get("subset", ()))
    if not all(isinstance(name, str) for name in subset):
        _refuse("subset holds values that are no text")
    if not len(offsets) - 1 == len(file) == len(record) == len(subset):
        _refuse(f"{len(offsets)} offsets, {len(file)} files, {len(record)} records and {len(subset)} subsets")
    if offsets[0] != 0 or offsets[-1] != len(tokens) or bool((np.diff(offsets) <= 0).any()):
        _refuse(f"offsets do not ascend from 0 to the {len(tokens)} tokens")
    if len(character) != len(tokens):
        _refuse(f"{len(character)} characters for {len(tokens)} tokens")
    if len(tokens) and (tokens.max() > np.iinfo(np.int32).max or min(file.min(), record.min()) < 0):
        _refuse("an impossible token, file or record")
    pieces = []
    for i, (begin, end) in enumerate(itertools.pairwise(offsets.tolist())):
        place = character[begin:end]
        if not bool((place == -1).all()) and (place[0] < 0 or bool((np.diff(place) < 0).any())):
            _refuse(f"the characters of piece {i} do not ascend from 0 or more")
        pieces.append(Piece(tokens[begin:end].astype(np.int32), place, int(file[i]), int(record[i]), subset[i]))
    return tuple(pieces)


def _refuse(found: str) -> None:
    raise ValueError(f"reading the text between two batches: {found}. It is damaged; collect again.")
