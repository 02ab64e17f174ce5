"""What an exported table is: its columns, and how its rows are read from a store part by part.

Cost: `batches` holds one part at a time, so an export's memory depends on the largest part and not on the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from neurolocal.store import Store

ROWS = 16_384
"""Rows of a part, at most."""


@dataclass(frozen=True)
class ExportTable:
    """One table of an export; its file has its name."""

    name: str
    """Of the table and of its file."""
    about: str
    """What a row is, in one sentence."""
    schema: pa.Schema
    """Its columns, each with its description."""
    batches: Callable[[Store, Sequence[int]], Iterator[pa.RecordBatch]]
    """Its rows from some layers of a store, in the order of the store."""


def slices(rows: int, step: int = ROWS) -> Iterator[slice]:
    """The parts of a number of rows, in order."""
    for low in range(0, rows, step):
        yield slice(low, min(low + step, rows))
