"""Reading evidence: the table of one stage for one layer and side, and what it was made from.

Invariant: a table has the columns of its type in `records`, of equal length and of the types that FORMAT.md names,
and names neurons of the layer alone; or a StoreError says what differs. Cost: reads the table whole.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import h5py
import numpy as np
from jaxtyping import Int64

from neurolocal import records
from neurolocal.store.checked import CheckedFile
from neurolocal.tables import column_annotations

LATER: dict[type, dict[str, int]] = {
    records.SummaryTable: {"candidates": 2, "said": 2, "parts": 5},
    records.ScoreTable: {"p": 3, "q": 3, "parts": 4},
}
"""The revision of a stage that first wrote a column. A table of an earlier one has them empty, or NaN; any other
table that lacks them is damaged."""

TYPES = {"Float32": "f4", "Float64": "f8", "Int32": "i4", "Int64": "i8", "Bool": "u1"}


def column_type(annotation: str) -> str:
    """The dtype of a column as numpy writes it, from its annotation in `records`: `Float32[...]` -> `f4`."""
    return TYPES[annotation.split("[")[0]]


def evidence_group(file: CheckedFile, name: str) -> h5py.Group | None:
    """The group of a table, `{stage}/{site}/{layer}/{side}`; None where the stage has not run."""
    if not file.has(name):
        return None
    group = file.get(name)
    if not isinstance(group, h5py.Group):
        raise file.bad(f"{name} is no group")
    return group


def read_table(file: CheckedFile, group: h5py.Group, kind: type, neurons: Int64[np.ndarray, "neuron"]) -> Any:
    """A table, and the tables inside it.

    Args:
        file: the store.
        group: of the table.
        kind: its type in `records`.
        neurons: the collected neurons of the layer.
    """
    columns: dict[str, Any] = {}
    for column, annotation in column_annotations(kind).items():
        name = f"{group.name}/{column}"
        if annotation.endswith("Table"):
            inner_kind = getattr(sys.modules[kind.__module__], annotation)
            if _is_later(file, group, kind, column):
                columns[column] = _empty(inner_kind)
                continue
            inner = file.get(name)
            if not isinstance(inner, h5py.Group):
                raise file.bad(f"{name} is no group")
            columns[column] = read_table(file, inner, inner_kind, neurons)
        elif _is_later(file, group, kind, column):
            n = len(columns["neuron"])
            columns[column] = [""] * n if annotation == "list[str]" else np.full(n, np.nan, column_type(annotation))
        elif annotation == "list[str]":
            columns[column] = file.texts(group.name or "", column)
        else:
            values = file.array(name, column_type(annotation), ndim=1)
            columns[column] = values.astype(bool) if annotation.startswith("Bool") else values
    _check_columns(file, str(group.name), columns, neurons)
    return kind(**columns)


def _empty(kind: type) -> Any:
    """A table without rows; it has no tables inside."""
    columns = column_annotations(kind).items()
    return kind(**{name: [] if of == "list[str]" else np.empty(0, column_type(of)) for name, of in columns})


def _is_later(file: CheckedFile, group: h5py.Group, kind: type, column: str) -> bool:
    """Whether the table was made before its stage wrote this column."""
    since = LATER.get(kind, {}).get(column)
    revision = None if since is None else file.json(group, "inputs").get("revision")
    return since is not None and isinstance(revision, int) and 1 <= revision < since


def _check_columns(file: CheckedFile, name: str, columns: dict[str, Any], neurons: Int64[np.ndarray, "neuron"]) -> None:
    """Equal lengths, neurons of the layer, known verdicts."""
    lengths = {key: len(v) for key, v in columns.items() if not dataclasses.is_dataclass(v)}
    if len(set(lengths.values())) > 1:
        raise file.bad(f"the columns of {name} differ in length: {lengths}")
    if not np.isin(columns["neuron"], neurons).all():
        raise file.bad(f"{name} names neurons that the layer does not have")
    unknown = set(columns.get("verdict", ())) - set(records.VERDICTS)
    if unknown:
        raise file.bad(f"{name} holds the unknown verdict {ascii(sorted(unknown)[0])[:40]}")
