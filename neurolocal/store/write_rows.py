"""Token rows -> the datasets under `rows/`, a block at a time.

Invariant: the datasets do not depend on how the rows are cut into blocks.
Cost: one block in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from jaxtyping import Int64, Integer

from neurolocal.store.datasets import PartWriter, put_columns


@dataclass(frozen=True)
class StoredRows:
    """Some rows of the corpus."""

    tokens: Integer[np.ndarray, "row pos"]
    """Token ids; entries at and after `length` are padding."""
    length: Int64[np.ndarray, "row"]
    """Tokens of each row that are no padding."""
    index: Int64[np.ndarray, "row"]
    """Each one's row index in the corpus, ascending."""
    parts: Mapping[str, Any]
    """Which documents the rows are made of: the columns of `neurolocal.provenance.Parts`."""


@dataclass(frozen=True)
class RowBlocks:
    """Rows that may be more than memory holds: they are written in blocks, each made when it is needed."""

    n_rows: int
    """Rows of all blocks."""
    row_length: int
    """Positions of a row."""
    n_parts: int
    """Parts of documents of all rows."""
    subsets: list[str]
    """Names of subsets that occur in them, sorted; the blocks' `subset` refers to these."""
    blocks: Iterable[StoredRows]
    """The rows in order, none of them empty; each block's `parts` begin with the offset 0."""

    @staticmethod
    def whole(rows: StoredRows) -> RowBlocks:
        """Rows that are in memory, as one block."""
        n_parts, subsets = len(rows.parts.get("position", ())), list(rows.parts.get("subsets", ()))
        n_rows, row_length = rows.tokens.shape
        return RowBlocks(n_rows, row_length, n_parts, subsets, [rows])


def put_rows(file: h5py.File, rows: RowBlocks, *, dtype: str, each: Callable[[StoredRows], None]) -> None:
    """Write all rows.

    Args:
        file: the store.
        rows: what to write.
        dtype: of the tokens.
        each: receives every block.
    """
    columns = _Columns(file, rows, dtype)
    for block in rows.blocks:
        columns.write(block)
        each(block)
    columns.finish()


PARTS = {"position": "i4", "subset": "i4", "file": "i8", "record": "i8", "character": "i8"}
"""The columns with an entry for each part of a document, and their types."""


class _Columns:
    """The datasets under `rows/`."""

    def __init__(self, file: h5py.File, rows: RowBlocks, dtype: str) -> None:
        n = rows.n_rows
        self._rows = {
            name: PartWriter(file, f"rows/{name}", shape, kind)
            for name, shape, kind in (
                ("tokens", (n, rows.row_length), dtype), ("length", (n,), "<i8"), ("index", (n,), "<i8")
            )
        }  # fmt: skip
        self._parts = {name: PartWriter(file, f"rows/parts/{name}", (rows.n_parts,), kind)
                       for name, kind in PARTS.items()}  # fmt: skip
        self._offsets = PartWriter(file, "rows/parts/offsets", (n + 1,), "<i8")
        self._offsets.write(np.zeros(1, np.int64))
        self._n_parts = 0
        put_columns(file, "rows/parts", {"subsets": rows.subsets})

    def write(self, block: StoredRows) -> None:
        """The next rows."""
        for name, writer in self._rows.items():
            writer.write(getattr(block, name))
        for name, writer in self._parts.items():
            writer.write(block.parts[name])
        self._offsets.write(block.parts["offsets"][1:] + self._n_parts)
        self._n_parts += len(block.parts["position"])

    def finish(self) -> None:
        """All rows have been written."""
        for writer in (*self._rows.values(), *self._parts.values(), self._offsets):
            writer.finish()
