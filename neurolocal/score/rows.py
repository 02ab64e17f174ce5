"""The rows of the score table and of its table of texts.

Invariant: a row has the columns of its table, in the same order; `records` defines them. Cost: one pass over the rows.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import numpy as np

from neurolocal.fdr import q_values
from neurolocal.tables import PartScoreTable, ScoredTextTable, ScoreTable, column_annotations

DTYPES = {"Int64": np.int64, "Int32": np.int32, "Float32": np.float32, "Float64": np.float64, "Bool": np.bool_}


def _columns(table: type) -> dict[str, str]:
    """Column -> its annotation, without tables inside the table."""
    return {name: kind for name, kind in column_annotations(table).items() if not kind.endswith("Table")}


ScoreRow = namedtuple("ScoreRow", _columns(ScoreTable), defaults=(np.nan, np.nan))  # pyright: ignore[reportUntypedNamedTuple]
"""One row of `ScoreTable`, without its texts; p and q are NaN unless given."""

TextRow = namedtuple("TextRow", _columns(ScoredTextTable))  # pyright: ignore[reportUntypedNamedTuple]
"""One row of `ScoredTextTable`."""

PartRow = namedtuple("PartRow", _columns(PartScoreTable))  # pyright: ignore[reportUntypedNamedTuple]
"""One row of `PartScoreTable`."""


def score_table(
    scores: Sequence[ScoreRow], texts: Sequence[TextRow], parts: Sequence[PartRow] = ()
) -> ScoreTable:  # fmt: skip
    """The rows as the stage's table, with the q of each p over the rows of its measure."""
    columns = _arrays(ScoreTable, scores)
    for measure in set(columns["measure"]):
        of = np.array([m == measure for m in columns["measure"]], bool)
        columns["q"][of] = q_values(columns["p"][of])
    return ScoreTable(
        **columns, texts=ScoredTextTable(**_arrays(ScoredTextTable, texts)),
        parts=PartScoreTable(**_arrays(PartScoreTable, parts)),
    )  # fmt: skip


def _arrays(table: type, rows: Sequence[Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, kind in _columns(table).items():
        values = [getattr(row, name) for row in rows]
        made[name] = values if kind == "list[str]" else np.array(values, dtype=DTYPES[kind.split("[")[0]])
    return made
