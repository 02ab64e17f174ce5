"""A stage's table as it is: every column with one value a neuron, for stages without a section of their own.

Invariant: nothing here names a stage, so a new stage appears in all views as soon as it is in `records.TABLES`.
"""

from __future__ import annotations

from math import nan

from neurolocal.render.figures import Figure, number
from neurolocal.report.layer import Layer
from neurolocal.tables import column_annotations, table_of


def column_values(read: Layer, stage: str, neuron: int) -> dict[str, float | str]:
    """Column -> value of a neuron in a stage's table; of several rows the first; empty if the neuron is not there."""
    if not read.has(stage, neuron):
        return {}
    kinds = column_annotations(table_of(stage))
    columns = [name for name, kind in kinds.items() if name != "neuron" and not kind.endswith("Table")]
    return {name: _value(read, stage, name, neuron) for name in columns}


def column_figures(read: Layer, stage: str, neuron: int) -> list[Figure]:
    """The same as figures, each named `STAGE: COLUMN`."""
    return [
        Figure(f"{stage}: {name}", value if isinstance(value, str) else number(value), number=_number(value))
        for name, value in column_values(read, stage, neuron).items()
    ]


def _value(read: Layer, stage: str, column: str, neuron: int) -> float | str:
    is_text = isinstance(getattr(read.tables[stage], column), list)
    return (read.text(stage, column, neuron) or "") if is_text else read.figure(stage, column, neuron)


def _number(value: float | str) -> float:
    return nan if isinstance(value, str) else value
