"""Every statistic against a slow twin, and a p that is uniform under the null."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from neurolocal.perturbation import statistics


def ragged(rng: np.random.Generator, examples: int, size: int, *, shift: float = 0.0, neurons: int = 9) -> np.ndarray:
    """Values of some neurons with ties, some missing.

    They are eighths: tenths are not exact in float32, and sums of them that differ by 1e-8 alone are neither equal nor
    different, so that two honest ways of counting may disagree.
    """
    values = (np.round(8 * rng.normal(shift, 1, (neurons, examples, size))) / 8).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    return values


def listed(line) -> list[float]:
    return [float(v) for v in line if not np.isnan(v)]


def test_shares_means_and_auc_equal_plain_loops(rng: np.random.Generator) -> None:
    a, b = ragged(rng, 4, 5, neurons=40), ragged(rng, 4, 3, neurons=40)
    share, mean, number, auc = statistics.share(a, 0.5), statistics.mean(a), statistics.number(a), statistics.auc(a, b)
    for i in range(40):
        flat = [v for line in a[i] for v in listed(line)]
        assert number[i] == len(flat)
        assert share[i] == pytest.approx(sum(v >= 0.5 for v in flat) / len(flat))
        assert mean[i] == pytest.approx(sum(flat) / len(flat), abs=1e-6)
        pairs = [(x, y) for one, two in zip(a[i], b[i], strict=True) for x in listed(one) for y in listed(two)]
        assert auc[i] == pytest.approx(sum((x > y) + (x == y) / 2 for x, y in pairs) / len(pairs))


def test_dose_equals_scipys_spearman(rng: np.random.Generator) -> None:
    cosines, values = np.round(rng.normal(size=(30, 5, 8)), 1).astype(np.float32), ragged(rng, 5, 8, neurons=30)
    values[0] = np.nan
    values[1] = 1.0
    values[2, :, 2:] = np.nan
    found = statistics.dose(cosines, values)
    for i in range(30):
        rhos = []
        for c, v in zip(cosines[i], values[i], strict=True):
            there = ~np.isnan(v)
            if there.sum() >= 3 and len(set(v[there])) > 1 and len(set(c[there])) > 1:
                rhos.append(stats.spearmanr(c[there], v[there])[0])
        assert found[i] == pytest.approx(np.mean(rhos) if rhos else np.nan, nan_ok=True)
    assert np.isnan(found[:3]).all()


def test_a_share_counts_what_equals_the_limit() -> None:
    assert statistics.share(np.array([[[1.0, 0.9999, np.nan]]]), 1.0) == 0.5


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
    a, b = ragged(rng, 3, 3, shift=0.5), ragged(rng, 3, 2)
    found = statistics.permutation_p(a, b, permutations=20_000, seed=1)
    for x, y, p in zip(a, b, found, strict=True):
        paired = any(listed(one) and listed(two) for one, two in zip(x, y, strict=True))
        assert p == pytest.approx(exact_p(x, y) if paired else np.nan, abs=0.02, nan_ok=True)


def test_p_is_uniform_under_the_null() -> None:
    rng = np.random.default_rng(1)  # a stated seed: the permutations that all share make fresh ones vary more
    # Examples of very different strength: labels must be swapped within them only. The permutations are the same for
    # all neurons; that each p is uniform over many of them says that they are no better for some.
    scale = np.array([0.1, 1, 10, 1, 1, 1, 3, 1])[None, :, None]
    values = rng.normal(size=(4000, 8, 10)) * scale + scale
    values[rng.random(values.shape) < 0.1] = np.nan
    ps = statistics.permutation_p(values[:, :, :5], values[:, :, 5:], permutations=999, seed=int(rng.integers(1 << 30)))
    assert stats.kstest(ps, "uniform").pvalue > 1e-6
    assert 0.03 < np.mean(ps <= 0.05) < 0.075


def test_p_is_small_for_a_real_difference_and_large_for_its_opposite(rng: np.random.Generator) -> None:
    high, low = rng.normal(3, 1, (2, 6, 5)), rng.normal(0, 1, (2, 6, 5))
    assert statistics.permutation_p(high, low, permutations=999, seed=3) == pytest.approx([1 / 1000] * 2)
    assert statistics.permutation_p(low, high, permutations=999, seed=3) == pytest.approx([1.0] * 2, abs=0.01)


def test_p_does_not_depend_on_other_neurons_or_blocks(rng: np.random.Generator, monkeypatch) -> None:
    a, b = ragged(rng, 4, 5, neurons=30), ragged(rng, 4, 5, neurons=30)
    whole = statistics.permutation_p(a, b, permutations=99, seed=5)
    monkeypatch.setattr(statistics, "BLOCK", 7)
    assert np.array_equal(statistics.permutation_p(a, b, permutations=99, seed=5), whole, equal_nan=True)
    assert statistics.permutation_p(a[4:5], b[4:5], permutations=99, seed=5)[0] == whole[4]


def test_equal_values_are_no_evidence() -> None:
    same = np.full((1, 4, 5), 0.1, np.float32)
    assert statistics.permutation_p(same, same, permutations=99, seed=0) == 1.0


def test_nothing_measured_is_nan_not_zero() -> None:
    none, one = np.full((1, 2, 3), np.nan, np.float32), np.ones((1, 2, 3), np.float32)
    assert np.isnan(statistics.share(none, 1.0))
    assert np.isnan(statistics.mean(none[:, :0]))
    assert np.isnan(statistics.auc(none, one))
    assert np.isnan(statistics.permutation_p(one, none, permutations=19, seed=0))
    # One example has neighbours alone, the other controls alone: nothing is paired.
    left, right = one.copy(), one.copy()
    left[0, 0], right[0, 1] = np.nan, np.nan
    assert np.isnan(statistics.permutation_p(left, right, permutations=19, seed=0))
    assert np.isnan(statistics.auc(left, right))
    assert statistics.permutation_p(one[:0], one[:0], permutations=19, seed=0).shape == (0,)
