"""The rows of the score table and of its table of texts.

Invariant: a row has the columns of its table, in the same order; `records` defines them. Cost: one pass over the rows.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import numpy as np

from neurolocal.tables import ScoredTextTable, ScoreTable, column_annotations

DTYPES = {"Int64": np.int64, "Int32": np.int32, "Float32": np.float32, "Bool": np.bool_}


def _columns(table: type) -> dict[str, str]:
    """Column -> its annotation, without tables inside the table."""
    return {name: kind for name, kind in column_annotations(table).items() if not kind.endswith("Table")}


ScoreRow = namedtuple("ScoreRow", _columns(ScoreTable))  # pyright: ignore[reportUntypedNamedTuple]
"""One row of `ScoreTable`, without its texts."""

TextRow = namedtuple("TextRow", _columns(ScoredTextTable))  # pyright: ignore[reportUntypedNamedTuple]
"""One row of `ScoredTextTable`."""


def score_table(scores: Sequence[ScoreRow], texts: Sequence[TextRow]) -> ScoreTable:
    """The rows as the stage's table."""
    return ScoreTable(**_arrays(ScoreTable, scores), texts=ScoredTextTable(**_arrays(ScoredTextTable, texts)))


def _arrays(table: type, rows: Sequence[Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, kind in _columns(table).items():
        values = [getattr(row, name) for row in rows]
        made[name] = values if kind == "list[str]" else np.array(values, dtype=DTYPES[kind.split("[")[0]])
    return made
