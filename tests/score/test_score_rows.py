"""Rows and the tables made of them."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from neurolocal.records import ScoredTextTable, ScoreTable
from neurolocal.score.rows import PartRow, ScoreRow, TextRow, score_table
from neurolocal.tables import PartScoreTable


def test_a_row_has_the_columns_of_its_table_in_their_order() -> None:
    assert ScoreRow._fields == tuple(f.name for f in fields(ScoreTable))[:-2]
    assert PartRow._fields == tuple(f.name for f in fields(PartScoreTable))
    assert [f.name for f in fields(ScoreTable)[-2:]] == ["texts", "parts"]
    assert TextRow._fields == tuple(f.name for f in fields(ScoredTextTable))


def test_rows_become_columns() -> None:
    scores = [
        ScoreRow(7, "firing_f1", 0.5, 0.25, 0.75, np.nan, -1, 3, ""),
        ScoreRow(8, "token_f1", 1, 1, 1, 0, 7, 3, "x"),
    ]
    texts = [TextRow(7, "fuzzing", "right", 5, 2, "a <<b>>", True, 1.0, 0.5, -0.5, np.nan, np.nan)]
    table = score_table(scores, texts)
    assert table.neuron.tolist() == [7, 8]
    assert (table.measure, table.said) == (["firing_f1", "token_f1"], ["", "x"])
    assert (table.value.dtype, table.n.dtype, table.against.dtype) == (np.float32, np.int32, np.int64)
    assert (table.texts.prompt, table.texts.fires.tolist(), table.texts.answer.tolist()) == (["a <<b>>"], [True], [0.5])
    assert len(score_table([], []).value) == 0
