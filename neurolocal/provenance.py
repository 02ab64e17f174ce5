"""Which documents some rows are made of: for each part of a row its file, record, subset and offset in the text.

Invariant: the arrays are canonical. Every row has a part that begins at its position 0, parts are in order, `subsets`
are sorted, distinct and all in use; so equal content gives equal arrays, however it was put together.
Cost: 36 bytes a part and 8 a row; a row of packed text has one part and one more for each document that begins in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of some rows, ordered by row, then position."""

    offsets: Int64[np.ndarray, "row_and_one"] = field(default_factory=lambda: np.zeros(1, np.int64))
    """The parts of row i are `offsets[i]` to `offsets[i + 1]`, the latter not included."""
    position: Int32[np.ndarray, "part"] = field(default_factory=lambda: np.empty(0, np.int32))
    """Where in its row the part begins. BOS belongs to the first part, padding to the last."""
    file: Int64[np.ndarray, "part"] = field(default_factory=lambda: np.empty(0, np.int64))
    """Number of the document's file."""
    record: Int64[np.ndarray, "part"] = field(default_factory=lambda: np.empty(0, np.int64))
    """Number of the document's record in its file."""
    character: Int64[np.ndarray, "part"] = field(default_factory=lambda: np.empty(0, np.int64))
    """Offset of the part's first token in the document's text, in Unicode code points; -1 where unknown."""
    subset: Int32[np.ndarray, "part"] = field(default_factory=lambda: np.empty(0, np.int32))
    """Index into `subsets`."""
    subsets: tuple[str, ...] = ()
    """Names of subsets, sorted; the empty one means "in none"."""

    @staticmethod
    def empty() -> Parts:
        """No rows."""
        return Parts()

    @staticmethod
    def of(
        ends: Sequence[int],
        parts: Sequence[tuple[int, int, int, int, str]],
    ) -> Parts:
        """From plain values.

        Args:
            ends: for each row the number of parts up to its end.
            parts: (position, file, record, character, subset) of each.
        """
        names = sorted({part[4] for part in parts})
        index = {name: i for i, name in enumerate(names)}
        numbers = np.array([part[:4] for part in parts], dtype=np.int64).reshape(-1, 4).T
        return Parts(
            offsets=np.array([0, *ends], dtype=np.int64),
            position=numbers[0].astype(np.int32),
            file=numbers[1].copy(),
            record=numbers[2].copy(),
            character=numbers[3].copy(),
            subset=np.array([index[part[4]] for part in parts], dtype=np.int32),
            subsets=tuple(names),
        )

    @staticmethod
    def concatenate(tables: Iterable[Parts]) -> Parts:
        """The rows of all tables, in order; their names of subsets merged."""
        tables = [table for table in tables if len(table)]
        if len(tables) < 2:
            return tables[0] if tables else Parts()
        names = tables[0].subsets
        if any(table.subsets != names for table in tables):
            names = tuple(sorted(set().union(*(table.subsets for table in tables))))
        begins = np.cumsum([0, *(len(table.position) for table in tables)])
        return Parts(
            offsets=np.concatenate([[0], *(t.offsets[1:] + b for t, b in zip(tables, begins[:-1], strict=True))]),
            position=np.concatenate([table.position for table in tables]),
            file=np.concatenate([table.file for table in tables]),
            record=np.concatenate([table.record for table in tables]),
            character=np.concatenate([table.character for table in tables]),
            subset=np.concatenate([table.subset_in(names) for table in tables]),
            subsets=names,
        )

    def take(self, rows: Bool[np.ndarray, "row"] | Int[np.ndarray, "_"]) -> Parts:
        """Some of the rows: by a mask, or by their numbers in this table in any order.

        Raises:
            IndexError: there is no such row.
        """
        numbers = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        if rows.dtype == bool and len(rows) != len(self):
            raise IndexError(f"taking rows of parts: a mask of {len(rows)} for {len(self)} rows; expected one a row")
        self._require(numbers)
        sizes = np.diff(self.offsets)[numbers]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
        part = np.arange(offsets[-1]) + np.repeat(self.offsets[numbers] - offsets[:-1], sizes)
        subset = self.subset[part]
        occurs = np.bincount(subset, minlength=len(self.subsets)) > 0
        rank = (np.cumsum(occurs) - 1).astype(np.int32)
        return Parts(
            offsets=offsets,
            position=self.position[part],
            file=self.file[part],
            record=self.record[part],
            character=self.character[part],
            subset=subset if occurs.all() else rank[subset],
            subsets=tuple(name for name, kept in zip(self.subsets, occurs, strict=True) if kept),
        )

    def at(self, rows: Int[np.ndarray, "*n"], positions: Int[np.ndarray, "*n"]) -> Int64[np.ndarray, "*n"]:
        """The part that holds each position, as an index into the arrays of parts.

        Args:
            rows: numbers of rows in this table, not of the corpus.
            positions: in these rows, from 0.

        Raises:
            IndexError: there is no such row, or a position is negative.
        """
        self._require(rows)
        if positions.size and positions.min() < 0:
            raise IndexError(f"looking for the part at position {positions.min()}: expected 0 or more")
        if not rows.size:
            return np.zeros(rows.shape, np.int64)
        width = 1 + max(int(self.position.max()), int(positions.max()))
        begins = np.repeat(np.arange(len(self)) * width, np.diff(self.offsets)) + self.position
        return np.searchsorted(begins, rows.astype(np.int64) * width + positions, side="right") - 1

    def columns(self) -> dict[str, np.ndarray | list[str]]:
        """The fields as plain columns, by name; `subsets` as a list."""
        return {name: getattr(self, name) for name in _COLUMNS} | {"subsets": list(self.subsets)}

    @staticmethod
    def from_columns(columns: Mapping[str, Any]) -> Parts:
        """The inverse of `columns`; the columns may come from a damaged file.

        Raises:
            ValueError: a column is missing or of another type, or together they are no canonical table.
        """
        found = {name: np.asarray(columns.get(name)) for name in _COLUMNS}
        for name, dtype in _COLUMNS.items():
            if found[name].ndim != 1 or found[name].dtype != dtype:
                what = f"{name} is {found[name].dtype} with {found[name].ndim} dimensions"
                raise ValueError(f"reading the parts of rows: {what}; expected {np.dtype(dtype)} with 1")
        names = tuple(columns.get("subsets", ()))
        if wrong := _what_is_wrong(**found, names=names):
            raise ValueError(f"reading the parts of rows: {wrong}; expected a table as Parts describes it")
        return Parts(**found, subsets=names)

    def __len__(self) -> int:
        """Rows."""
        return len(self.offsets) - 1

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal; tables are canonical, so equal content is equal."""
        if not isinstance(other, Parts):
            return NotImplemented
        names = ("offsets", "position", "file", "record", "character", "subset")
        return self.subsets == other.subsets and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in names
        )

    __hash__ = None  # type: ignore[assignment]

    def subset_in(self, names: tuple[str, ...]) -> Int32[np.ndarray, "part"]:
        """`subset` as an index into `names`, which contain all of `subsets`."""
        if names == self.subsets:
            return self.subset
        index = {name: i for i, name in enumerate(names)}
        return np.array([index[name] for name in self.subsets], dtype=np.int32)[self.subset]

    def _require(self, rows: Int[np.ndarray, "..."]) -> None:
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"looking for rows {rows.min()} to {rows.max()}: this table has {len(self)}")


def labelled(subset: str, role: str) -> str:
    """The name of a subset for one role of its conversations."""
    return f"{subset} / {role}" if subset else role


def role_of(subset: str) -> str:
    """The role in a name made by `labelled`; any other name as it is."""
    return subset.rpartition(" / ")[2]


_COLUMNS = {
    "offsets": np.int64,
    "position": np.int32,
    "file": np.int64,
    "record": np.int64,
    "character": np.int64,
    "subset": np.int32,
}


def _what_is_wrong(
    offsets: np.ndarray, position: np.ndarray, file: np.ndarray, record: np.ndarray, character: np.ndarray,
    subset: np.ndarray, names: tuple[Any, ...],
) -> str:  # fmt: skip
    """The first reason why columns are not canonical; empty where there is none."""
    n = len(position)
    if not len(file) == len(record) == len(character) == len(subset) == n:
        return "columns of different lengths"
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != n or (offsets[1:] <= offsets[:-1]).any():
        return "offsets that do not count the parts of each row"
    if not all(isinstance(name, str) for name in names) or list(names) != sorted(set(names)):
        return "subsets that are not sorted and distinct"
    if not n:
        return "a subset that does not occur" if names else ""
    first = np.zeros(n, bool)
    first[offsets[:-1]] = True
    if position[first].any():
        return "a row whose first part does not begin it"
    if (np.diff(position.astype(np.int64))[~first[1:]] <= 0).any():
        return "parts of a row out of order"
    if file.min() < 0 or record.min() < 0 or character.min() < -1:
        return "a file, record or character below 0"
    if not 0 <= subset.min() <= subset.max() < len(names):
        return "a subset without a name"
    return "" if np.bincount(subset, minlength=len(names)).all() else "a subset that does not occur"
