"""Predicted against real firing: counts, figures and intervals."""

from __future__ import annotations

import numpy as np
import pytest
from firing_twins import example

from neurolocal.score import firing
from neurolocal.score.firing import Counts, count
from neurolocal.score.lookup import Lookup


def test_scores_count_positions_and_leave_out_nan() -> None:
    rule = Lookup(1, frozenset({(1,), (2,)}))
    rows = [
        (np.array([1, 2, 3, 1]), np.array([4.0, 1.0, 4.0, np.nan], np.float32)),
        (np.array([2, 3]), np.array([2.0, 0.0], np.float32)),
    ]
    found = count(rule, 4.0, rows)
    assert found == Counts(right=2, wrong=1, missed=1)
    assert (found.precision, found.recall, found.f1) == (2 / 3, 2 / 3, 2 / 3)
    assert np.isnan(Counts(0, 3, 0).f1)
    assert np.isnan(Counts(0, 3, 0).recall)
    assert Counts(0, 0, 3).precision == 0


def test_the_scale_is_of_the_strongest_explaining_example() -> None:
    assert firing.scale([example(0, [1, 2], [0.0, -3.0]), example(1, [1, 2], [-9.0, 0.0])]) == -3.0
    with pytest.raises(ValueError, match="nothing to predict"):
        firing.scale([example(1, [1, 2], [0.0, 5.0])])


def test_the_interval_is_that_of_plain_draws() -> None:
    each = [Counts(2, 0, 1), Counts(0, 1, 1), Counts(3, 1, 0), Counts(0, 0, 0)]
    rng, figures = np.random.default_rng(5), []
    for chosen in rng.integers(4, size=(50, 4)):
        right, wrong, missed = (sum(getattr(each[i], name) for i in chosen) for name in ("right", "wrong", "missed"))
        figures.append(2 * right / (2 * right + wrong + missed) if right + missed else np.nan)
    expected = np.nanquantile(figures, [0.025, 0.975]).tolist()
    assert list(firing.interval(each, "f1", draws=50, rng=np.random.default_rng(5))) == expected
    none = firing.interval([Counts(0, 1, 0)], "recall", draws=5, rng=rng)
    assert np.isnan([*none, *firing.interval([], "f1", draws=5, rng=rng)]).all()
