"""Random rows: those that score, and those without an example of the neuron."""

from __future__ import annotations

import numpy as np

from neurolocal.records import Example, Sample
from neurolocal.score.random_rows import RandomRows, scoring_rows


def test_rows_explain_or_score_never_both() -> None:
    rng = np.random.default_rng(0)
    row = np.sort(rng.integers(0, 50, 200))
    sample = Sample(row.astype(np.int64), np.arange(200, dtype=np.int32))
    explain = set(row[sample.explaining].tolist())
    score = set(scoring_rows(sample, 10_000, seed=0).tolist())
    assert explain | score == set(row.tolist())
    assert not explain & score
    assert len(score) == len(explain | score) // 4
    few = scoring_rows(sample, 7, seed=0)
    assert len(few) == 7
    assert set(few.tolist()) <= score
    assert few.tolist() == sorted(few.tolist())


def test_random_rows_with_an_example_are_left_out() -> None:
    tokens = [np.arange(1, 5)] * 3
    values = {9: [np.zeros(4, np.float32)] * 3}
    rows = RandomRows(np.array([7, 8, 9]), tokens, values)
    own = [Example(0, 8, 2, 5.0, 0, np.arange(1, 9), np.zeros(8, np.float32))]
    assert [row for row, _, _ in rows.of(9, own)] == [7, 9]
