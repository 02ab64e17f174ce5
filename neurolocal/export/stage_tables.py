"""The tables of the stages, one file each, and one for each table inside them (`perturbation_substitutes`).

Invariant: nothing here names a stage: the tables and their columns come from `records.TABLES`, so a new stage is
exported without a change. Cost: one layer's table of one side in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from neurolocal.export.columns import LAYER, SIDE, batch, record_columns
from neurolocal.export.table import ExportTable, slices
from neurolocal.records import TABLES, table_of
from neurolocal.store import Store
from neurolocal.tables import column_annotations


def stage_tables() -> list[ExportTable]:
    """The tables of all stages, in run order; a table inside another follows it."""
    return [table for stage in TABLES for table in _tables(stage, table_of(stage), ())]


def _tables(stage: str, record: type, path: tuple[str, ...]) -> Iterator[ExportTable]:
    """The table of a record, then those inside it."""
    schema = pa.schema([LAYER, SIDE, *record_columns(record)])
    about = " ".join((record.__doc__ or "").split())
    yield ExportTable("_".join((stage, *path)), about, schema, partial(_batches, stage=stage, path=path, schema=schema))
    for name, said in column_annotations(record).items():
        if said.endswith("Table"):
            yield from _tables(stage, getattr(sys.modules[record.__module__], said), (*path, name))


def _batches(
    store: Store, layers: Sequence[int], *, stage: str, path: tuple[str, ...], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The rows of a stage's table, or of the table at `path` inside it."""
    for layer in layers:
        for side in store.sides(layer):
            table: Any = store.evidence(stage, layer, side)
            if table is None:
                continue
            for name in path:
                table = getattr(table, name)
            columns = {name: getattr(table, name) for name in schema.names if name not in ("layer", "side")}
            for part in slices(len(table.neuron)):
                some = {name: values[part] for name, values in columns.items()}
                yield batch(schema, {"layer": layer, "side": side, **some})
