"""The columns of exported tables: Arrow types from the records' annotations, descriptions from their docstrings.

Invariant: a column holds the store's values as they are: NaN stays NaN, and no number changes its type. The description
of a column is the metadata `description` of its field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from neurolocal.config import described
from neurolocal.tables import column_annotations

TYPES = {
    "Float32": pa.float32(),
    "Float64": pa.float64(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "Bool": pa.bool_(),
    "list": pa.string(),
}
"""The start of an annotation in the records -> the type of the column."""


def column(name: str, kind: pa.DataType, about: str) -> pa.Field:
    """A column with its description."""
    return pa.field(name, kind, metadata={"description": about})


LAYER = column("layer", pa.int32(), "Index of the layer.")
NEURON = column("neuron", pa.int64(), "Index within the layer.")
SIDE = column("side", pa.string(), "The list of examples: largest, smallest or a sign case.")


def record_columns(record: type, *, but: Sequence[str] = ()) -> list[pa.Field]:
    """The columns of a record, in its order; tables inside it and the names in `but` are left out."""
    says = described(record)
    return [
        column(name, TYPES[said.partition("[")[0]], says.get(name, ""))
        for name, said in column_annotations(record).items()
        if not said.endswith("Table") and name not in but
    ]


def batch(schema: pa.Schema, columns: Mapping[str, Any]) -> pa.RecordBatch:
    """Some rows of a table; a value that is no sequence is the same in every row.

    Args:
        schema: of the table.
        columns: one of each of its names: an array of Arrow's or numpy's, a list, or a single value.
    """
    rows = next(len(v) for v in columns.values() if not isinstance(v, str | int | float | None))
    return pa.record_batch([_array(columns[f.name], f.type, rows) for f in schema], schema=schema)


def _array(values: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return lists(values.ravel(), np.full(len(values), values.shape[1]), kind.value_type)
    if isinstance(values, str | int | float | None):
        return pa.repeat(pa.scalar(values, kind), rows)
    return pa.array(values, kind)


def lists(values: Any, lengths: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Lists of these lengths, one a row, from their values one after another."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    flat = values if isinstance(values, pa.Array) else pa.array(values, kind)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)
