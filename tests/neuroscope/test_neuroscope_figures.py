"""Rank correlation with its interval, by layer and over all layers."""

from __future__ import annotations

import numpy as np
import pytest
from compare_twins import listed, quiet
from scipy import stats

from neurolocal.neuroscope.compare.figures import spearman


def test_spearman_and_its_interval(rng):
    covered = 0
    for _ in range(200):
        x = rng.normal(size=200)
        y = 0.5 * x + rng.normal(size=200)
        rho, p, low, high = spearman(x, y)
        assert low < rho < high
        assert (rho, p) == (pytest.approx(stats.spearmanr(x, y)[0]), pytest.approx(stats.spearmanr(x, y)[1]))
        true = 6 / np.pi * np.arcsin(0.5 / np.sqrt(1.25) / 2)
        covered += low <= true <= high
    assert covered >= 169  # 95 % of 200 is 190; fewer than 169 have a chance below 1e-7
    assert all(np.isnan(value) for value in spearman(np.ones(9), rng.random(9)))
    assert all(np.isnan(value) for value in spearman(np.arange(3.0), np.arange(3.0)))


def test_the_overall_correlation_is_not_won_by_one_layer(rng, tmp_path):
    values = rng.random((4, 200))
    other = rng.random((4, 200))
    other[0] = values[0]
    c = quiet(listed(tmp_path / "a.json", values), listed(tmp_path / "b.json", other))
    assert c.layers[0].figures.spearman == 1
    assert c.overall.spearman == pytest.approx(np.mean([one.figures.spearman for one in c.layers]))
