"""Every statistic against a slow twin, and a p that is uniform where nothing is to be found."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from neurolocal.perturbation import statistics


def ragged(rng: np.random.Generator, examples: int, size: int, *, shift: float = 0.0) -> np.ndarray:
    """Values with ties, some missing."""
    values = np.round(rng.normal(shift, 1, (examples, size)), 1).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    return values


def listed(line) -> list[float]:
    return [float(v) for v in line if not np.isnan(v)]


def test_shares_means_and_auc_equal_plain_loops(rng: np.random.Generator) -> None:
    for _ in range(20):
        a, b = ragged(rng, 4, 5), ragged(rng, 4, 3)
        flat = [v for line in a for v in listed(line)]
        assert statistics.share(a, 0.5) == pytest.approx(sum(v >= 0.5 for v in flat) / len(flat))
        assert statistics.mean(a) == pytest.approx(sum(flat) / len(flat), abs=1e-6)
        pairs = [(x, y) for one, two in zip(a, b, strict=True) for x in listed(one) for y in listed(two)]
        if pairs:
            assert statistics.auc(a, b) == pytest.approx(sum((x > y) + (x == y) / 2 for x, y in pairs) / len(pairs))


def test_a_share_counts_what_equals_the_limit() -> None:
    assert statistics.share(np.array([[1.0, 0.9999, np.nan]]), 1.0) == 0.5


def exact_p(a: np.ndarray, b: np.ndarray) -> float:
    """The share of all relabellings that reach the observed statistic, one by one."""
    lines = [(listed(x), listed(y)) for x, y in zip(a, b, strict=True) if listed(x) and listed(y)]

    def statistic(labelled) -> float:
        return sum(sum(x) / len(x) - sum(y) / len(y) for x, y in labelled) / len(labelled)

    choices = []
    for x, y in lines:
        values = [*x, *y]
        choices.append(
            [
                ([values[i] for i in chosen], [v for i, v in enumerate(values) if i not in chosen])
                for chosen in combinations(range(len(values)), len(x))
            ]
        )
    all_of_them = [statistic(labelled) for labelled in product(*choices)]
    return sum(s >= statistic(lines) - 1e-9 for s in all_of_them) / len(all_of_them)


def test_p_equals_full_enumeration(rng: np.random.Generator) -> None:
    for _ in range(6):
        a, b = ragged(rng, 3, 3, shift=0.5), ragged(rng, 3, 2)
        if not any(listed(x) and listed(y) for x, y in zip(a, b, strict=True)):
            continue
        p = statistics.permutation_p(a, b, permutations=20_000, rng=np.random.default_rng(1))
        assert p == pytest.approx(exact_p(a, b), abs=0.015)


def test_p_is_uniform_under_the_null(rng: np.random.Generator) -> None:
    # Examples of very different strength: labels must be swapped within them only.
    scale = np.array([0.1, 1, 10, 1, 1, 1, 3, 1])[:, None]
    ps = []
    for i in range(400):
        values = rng.normal(size=(8, 10)) * scale + scale
        ps.append(
            statistics.permutation_p(values[:, :5], values[:, 5:], permutations=199, rng=np.random.default_rng(i))
        )
    assert stats.kstest(ps, "uniform").pvalue > 1e-4
    assert 0.02 < np.mean(np.array(ps) <= 0.05) < 0.09


def test_p_is_small_for_a_real_difference_and_large_for_its_opposite(rng: np.random.Generator) -> None:
    high, low = rng.normal(3, 1, (6, 5)), rng.normal(0, 1, (6, 5))
    assert statistics.permutation_p(high, low, permutations=999, rng=rng) == pytest.approx(1 / 1000)
    assert statistics.permutation_p(low, high, permutations=999, rng=rng) == pytest.approx(1.0, abs=0.01)


def test_equal_values_are_no_evidence(rng: np.random.Generator) -> None:
    same = np.full((4, 5), 0.1, np.float32)
    assert statistics.permutation_p(same, same, permutations=99, rng=rng) == 1.0


def test_nothing_measured_is_nan_not_zero(rng: np.random.Generator) -> None:
    none, one = np.full((2, 3), np.nan, np.float32), np.ones((2, 3), np.float32)
    assert np.isnan(statistics.share(none, 1.0))
    assert np.isnan(statistics.mean(none[:0]))
    assert np.isnan(statistics.auc(none, one))
    assert np.isnan(statistics.permutation_p(one, none, permutations=19, rng=rng))
    # One example has neighbours alone, the other controls alone: nothing is paired.
    left, right = one.copy(), one.copy()
    left[0], right[1] = np.nan, np.nan
    assert np.isnan(statistics.permutation_p(left, right, permutations=19, rng=rng))
    assert np.isnan(statistics.auc(left, right))


def test_q_equals_the_textbook_and_leaves_nan_out(rng: np.random.Generator) -> None:
    p = rng.random(50) ** 2
    p[::7] = np.nan
    there = p[~np.isnan(p)]
    order = np.argsort(there)
    textbook = np.empty(len(there))
    least = 1.0
    for rank in range(len(there), 0, -1):
        least = min(least, there[order[rank - 1]] * len(there) / rank)
        textbook[order[rank - 1]] = least
    q = statistics.false_discovery(p)
    assert np.allclose(q[~np.isnan(p)], textbook)
    assert np.isnan(q[np.isnan(p)]).all()
    assert np.isnan(statistics.false_discovery(np.full(3, np.nan))).all()
