"""The ranked neurons as a Parquet file: the fields of `NeuronRow`, lists as lists and objects as maps.

Invariant: the names are those of JSON and CSV; a figure that was not measured is null. `evidence`, whose form depends
on the stages, is JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from neurolocal.config import described
from neurolocal.files import replacing
from neurolocal.render.figures import strict
from neurolocal.report.rows import EXPERT_FIELDS, NeuronRow

SCORE = pa.struct([(name, pa.float64()) for name in ("value", "low", "high", "control")])

TYPES = {
    "int": pa.int64(),
    "int | None": pa.int64(),
    "float": pa.float64(),
    "float | None": pa.float64(),
    "str": pa.string(),
    "str | None": pa.string(),
    "list[str]": pa.list_(pa.string()),
    "list[int | None]": pa.list_(pa.int64()),
    "dict[str, int]": pa.map_(pa.string(), pa.int64()),
    "dict[int, int]": pa.map_(pa.int64(), pa.int64()),
    "dict[str, float]": pa.map_(pa.string(), pa.float64()),
    "dict[str, dict[str, float]]": pa.map_(pa.string(), SCORE),
    "dict[str, dict[str, float | str]]": pa.string(),
}
"""Annotation of a field -> the type of its column."""


def write_parquet(rows: Iterable[NeuronRow], *, path: Path) -> None:
    """Write the neurons to a file, as a whole or not at all."""
    rows = list(rows)
    says, experts = described(NeuronRow), any(row.expert is not None for row in rows)
    columns = [
        pa.field(f.name, TYPES[str(f.type)], metadata={"description": says[f.name]})
        for f in fields(NeuronRow)
        if experts or f.name not in EXPERT_FIELDS
    ]
    arrays = [pa.array([_value(getattr(row, c.name), c.type) for row in rows], c.type) for c in columns]
    with replacing(path, doing="writing the report") as beside:
        pq.write_table(pa.table(arrays, schema=pa.schema(columns)), beside, compression="zstd")


def _value(value: Any, kind: pa.DataType) -> Any:
    """A value as Arrow takes it."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return (
            json.dumps(strict(value))
            if pa.types.is_string(kind)
            else [(key, strict(item)) for key, item in value.items()]
        )
    return value
