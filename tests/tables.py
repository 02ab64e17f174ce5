"""Evidence tables for tests: what is not given was not measured."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

KINDS = {"Int64": np.int64, "Int32": np.int32, "Float32": np.float32, "Float64": np.float64, "Bool": bool}


def filled(table: type, neuron: Sequence[int], **given: Any) -> Any:
    """A table of a type; columns that are not given are NaN, 0, False or empty."""
    made: dict[str, Any] = {"neuron": np.array(neuron, dtype=np.int64)}
    for column in fields(table):
        said = str(column.type)
        if said.endswith("Table"):
            inner = getattr(sys.modules[table.__module__], said)
            made[column.name] = given.get(column.name, filled(inner, []))
        elif said == "list[str]":
            made[column.name] = list(given.get(column.name, [""] * len(neuron)))
        elif column.name != "neuron":
            kind = KINDS[said.split("[")[0]]
            empty = np.full(len(neuron), np.nan if kind in (np.float32, np.float64) else 0)
            made[column.name] = np.array(given.get(column.name, empty), dtype=kind)
    assert set(given) <= set(made), set(given) - set(made)
    return table(**made)
