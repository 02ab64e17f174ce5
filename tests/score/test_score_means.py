"""Means of a layer, with their controls, against plain sums."""

from __future__ import annotations

import numpy as np
import pytest

from neurolocal.score.means import LEAST, lines, means
from neurolocal.score.rows import ScoreRow, score_table


def row(neuron: int, measure: str, value: float, control: float, said: str = "") -> ScoreRow:
    return ScoreRow(neuron, measure, value, np.nan, np.nan, control, -1, 5, said)


def test_a_mean_leaves_out_neurons_without_a_figure() -> None:
    values = [(0.9, 0.5), (0.7, 0.4), (0.8, np.nan), (np.nan, 0.3), (0.5, 0.6)]
    rows = [row(i, "detection_auc", v, c) for i, (v, c) in enumerate(values)]
    (found,) = means(score_table([*rows, row(9, "firing_f1", np.nan, np.nan)], []))
    assert (found.measure, found.n) == ("detection_auc", 4)
    assert found.value == pytest.approx((0.9 + 0.7 + 0.8 + 0.5) / 4)
    assert found.control == pytest.approx((0.5 + 0.4 + 0.6) / 3)
    assert found.above == pytest.approx((0.4 + 0.3 - 0.1) / 3)
    assert -0.1 - 1e-6 <= found.low <= found.above <= found.high <= 0.4 + 1e-6


def test_names_that_are_read_from_a_file_are_found() -> None:
    """They are equal to the names of the program, and not the same objects."""
    table = score_table([row(i, "".join(["firing", "_f1"]), 0.5, 0.25) for i in range(2)], [])
    (found,) = means(table)
    assert (found.measure, found.n, found.above) == ("firing_f1", 2, 0.25)


def test_few_neurons_have_no_interval() -> None:
    (found,) = means(score_table([row(i, "firing_f1", 0.1 * i, 0.0) for i in range(LEAST - 1)], []))
    assert np.isnan([found.low, found.high]).all()


def test_lines_give_each_measure_and_count_the_failures() -> None:
    rows = [row(0, "fuzzing_auc", 0.75, 0.5), row(1, "detection_auc", np.nan, np.nan, "RuntimeError: no")]
    assert lines(score_table(rows, [])) == [
        "fuzzing auc 0.750 over 1 neurons, of another neuron's 0.500, above it by +0.250",
        "1 measures failed, the first: RuntimeError: no",
    ]
