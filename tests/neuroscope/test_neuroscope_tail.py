"""The expected maximum of a smaller or larger sample, against drawing and against known distributions."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy import stats

from neurolocal.neuroscope.compare.tail import expected_maximum, shape

QUANTILES = {
    "exponential": lambda t: -np.log(t),
    "normal": stats.norm.isf,
    "uniform": lambda t: 1 - t,
    "lognormal": lambda t: np.exp(stats.norm.isf(t)),
    "pareto": lambda t: t ** (-1 / 3),
}
"""Share of the rows above -> the value."""


def largest(rng, quantile, *, rows, k=20, neurons=2000):
    """The k largest of so many draws, without drawing them all: uniform order statistics are sums of exponentials."""
    return quantile(-np.expm1(-np.cumsum(rng.exponential(size=(neurons, k)), axis=1) / rows))


def true_maximum(quantile, rows):
    """The mean of the largest of so many draws."""
    share = (np.arange(200_000) + 0.5) / 200_000
    return quantile(-np.expm1(np.log(share) / rows)).mean()


@pytest.mark.parametrize("rows", [1, 2, 5, 9])
def test_within_a_full_list_it_is_the_mean_over_all_subsets(rng, rows):
    values = -np.sort(-rng.normal(size=(3, 9)), axis=1)
    found = expected_maximum(values, rows=9, wanted=rows)
    every = [max(chosen) for chosen in combinations(values[0].tolist(), rows)]
    assert len(every) == comb(9, rows)
    assert found[0] == pytest.approx(np.mean(every), abs=1e-12)


def test_the_same_size_is_the_maximum_itself(rng):
    values = largest(rng, QUANTILES["normal"], rows=1000, neurons=20)
    np.testing.assert_allclose(expected_maximum(values, rows=1000, wanted=1000), values[:, 0], rtol=1e-12)


def test_drawing_rows_without_replacement(rng):
    sample = rng.gamma(2, size=4000)
    values = -np.sort(-sample)[None, :20]
    drawn = [rng.choice(sample, 1000, replace=False).max() for _ in range(4000)]
    error = np.std(drawn) / np.sqrt(len(drawn))
    assert abs(expected_maximum(values, rows=4000, wanted=1000)[0] - np.mean(drawn)) < 6 * error + 1e-3


# How far off each may be at these sizes, six standard deviations and more beyond what the module's docstring says.
# A stated seed: one value of a heavy tail may move a mean of 2,000 by more.
@pytest.mark.parametrize(
    ("name", "rows", "wanted", "off"),
    [
        (name, rows, wanted, off)
        for name, offs in {
            "exponential": (0.01, 0.02, 0.07, 0.05),
            "normal": (0.005, 0.015, 0.05, 0.03),
            "uniform": (0.002, 0.002, 0.002, 0.002),
            "lognormal": (0.02, 0.05, 0.30, 0.14),
            "pareto": (0.04, 0.10, 0.50, 0.28),
        }.items()
        for (rows, wanted), off in zip(
            [(10**6, 10**5), (10**6, 10**4), (10**6, 10**3), (10**4, 10**5)], offs, strict=True
        )
    ],
)
def test_against_distributions(name, rows, wanted, off):
    rng, quantile = np.random.default_rng(1), QUANTILES[name]
    found = expected_maximum(largest(rng, quantile, rows=rows), rows=rows, wanted=wanted)
    assert found.mean() / true_maximum(quantile, wanted) == pytest.approx(1, abs=off)


@pytest.mark.parametrize(("name", "expected"), [("exponential", 0), ("uniform", -1), ("pareto", 1 / 3)])
def test_the_shape_of_known_tails(rng, name, expected):
    values = largest(rng, QUANTILES[name], rows=10**6)
    assert shape(values[:, :-1] - values[:, -1:]) == pytest.approx(expected, abs=0.12)


def test_more_rows_never_expect_less(rng):
    values = largest(rng, QUANTILES["normal"], rows=10_000, neurons=50)
    sizes = [100, 1000, 9999, 10_000, 10_001, 20_000, 10**6]
    found = np.stack([expected_maximum(values, rows=10_000, wanted=n) for n in sizes])
    assert (np.diff(found, axis=0) >= -1e-9).all()
    assert abs(found[4] - found[3]).max() < 1e-2


def test_edges():
    lists = np.array([[2.0, 1.0, np.nan], [0.0, 0.0, 0.0], [np.nan] * 3, [5.0, np.nan, np.nan]])
    for wanted in (1, 5, 10, 1000):
        found = expected_maximum(lists, rows=10, wanted=wanted)
        assert np.isfinite(found[[0, 1, 3]]).all()
        assert np.isnan(found[2])
        assert found[1] == 0
        assert found[3] == pytest.approx(5)
    assert len(expected_maximum(np.empty((0, 4)), rows=3, wanted=2)) == 0
