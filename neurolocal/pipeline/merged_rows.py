"""The token rows of a merged store, from those of its parts, a block at a time.

Invariant: the rows that are wanted, each once, in order, whatever the parts and however their rows interleave.
Cost: the parts are read twice, once for the documents alone; memory holds 8 bytes a wanted row, 8 bytes a row of the
parts whose rows interleave with the block, some blocks of `BLOCK` bytes, and the documents of one part's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from neurolocal.errors import StoreError
from neurolocal.provenance import Parts
from neurolocal.store import RowBlocks, Store, StoredRows

BLOCK = 1 << 23
"""Bytes of token ids that are read or written at once."""

FEW = 1 << 16
"""Row numbers that are sorted at once, at least."""


class RowNumbers:
    """The distinct numbers of rows in some lists."""

    def __init__(self) -> None:
        """None yet."""
        self._known = np.empty(0, np.int64)
        self._new: list[Int64[np.ndarray, "_"]] = []
        self._n_new = 0

    def add(self, rows: Int64[np.ndarray, "..."]) -> None:
        """Add the rows of a list; below 0 are unused slots."""
        found = np.unique(rows)
        self._new.append(found[found >= 0])
        self._n_new += len(found)
        if self._n_new > max(FEW, len(self._known)):
            self.sorted()

    def sorted(self) -> Int64[np.ndarray, "row"]:
        """All of them, ascending."""
        if self._new:
            self._known = np.unique(np.concatenate([self._known, *self._new]))
            self._new, self._n_new = [], 0
        return self._known


class _Piece(NamedTuple):
    """Some rows of one part."""

    tokens: Integer[np.ndarray, "row pos"]
    length: Int64[np.ndarray, "row"]
    numbers: Int64[np.ndarray, "row"]
    """In the corpus, ascending."""
    parts: Parts
    """The documents that they are made of."""


class _Span(NamedTuple):
    """A part and the rows that it holds."""

    path: Path
    first: int
    last: int


def merged_rows(paths: Sequence[Path], wanted: Int64[np.ndarray, "row"]) -> RowBlocks:
    """The wanted rows of all parts.

    Args:
        paths: stores of parts of one corpus; at least one.
        wanted: row numbers, ascending.

    Raises:
        StoreError: a part is damaged; or, while the blocks are made, no part holds a row that is wanted.
    """
    spans, names, n_parts, row_length, item = list[_Span](), set[str](), 0, 0, 2
    for path in paths:
        with Store(path) as store:
            index, some = store.row_index, store.token_rows(0, 0).tokens
            row_length, item = some.shape[1], some.dtype.itemsize
            at = np.searchsorted(wanted, index)
            mine = np.append(wanted, -1)[at] == index
            if mine.any():
                spans.append(_Span(path, int(index[0]), int(index[-1])))
                parts = store.parts.take(mine)
                n_parts += len(parts.position)
                names.update(parts.subsets)
    rows = max(1, BLOCK // max(1, item * row_length))
    subsets = sorted(names)
    return RowBlocks(len(wanted), row_length, n_parts, subsets, _blocks(spans, wanted, tuple(subsets), rows))


def _blocks(
    spans: Sequence[_Span], wanted: Int64[np.ndarray, "row"], names: tuple[str, ...], rows: int
) -> Iterator[StoredRows]:
    """Blocks of so many rows. A part is open while its rows are among those of a block."""
    opened: dict[Path, Store] = {}
    try:
        for begin in range(0, len(wanted), rows):
            numbers = wanted[begin : begin + rows]
            pieces = list[_Piece]()
            for path, first, last in spans:
                if last < numbers[0] and path in opened:
                    opened.pop(path).close()
                elif first <= numbers[-1] and numbers[0] <= last:
                    store = opened.get(path) or opened.setdefault(path, Store(path))
                    pieces += _taken(store, numbers, rows)
            yield _joined(pieces, numbers, names)
    finally:
        for store in opened.values():
            store.close()


def _taken(store: Store, numbers: Int64[np.ndarray, "row"], rows: int) -> Iterator[_Piece]:
    """Those of the rows that a part holds, read in pieces of at most so many stored rows."""
    index = store.row_index
    at = np.searchsorted(index, numbers)
    at = at[np.append(index, -1)[at] == numbers]
    while len(at):
        first = int(at[0])
        mine, at = np.split(at, [int(np.searchsorted(at, first + rows))])
        stop, chosen = int(mine[-1]) + 1, mine - first
        tokens, length = store.token_rows(first, stop)
        parts = store.parts_between(first, stop).take(chosen)
        yield _Piece(tokens[chosen], length[chosen], index[mine], parts)


def _joined(pieces: Sequence[_Piece], numbers: Int64[np.ndarray, "row"], names: tuple[str, ...]) -> StoredRows:
    """The pieces as one block, in the order of the row numbers.

    Raises:
        StoreError: a row is missing.
    """
    index = np.concatenate([np.empty(0, np.int64), *(piece.numbers for piece in pieces)])
    if len(lacking := np.setdiff1d(numbers, index)):
        raise StoreError(
            f"merging: a list refers to row {lacking[0]:,}, which none of the parts holds. One of them is damaged: "
            "find it with `neurolocal check`, and collect it again."
        )
    index, order = np.unique(index, return_index=True)
    parts = Parts.concatenate([piece.parts for piece in pieces]).take(order)
    return StoredRows(
        np.concatenate([piece.tokens for piece in pieces])[order],
        np.concatenate([piece.length for piece in pieces])[order],
        index,
        parts.columns() | {"subset": parts.subset_in(names)},
    )
