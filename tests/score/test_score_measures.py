"""AUC, AUPRC and F1 against slow twins on random answers."""

from __future__ import annotations

import numpy as np
import pytest

from neurolocal.score import measures


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    truth = rng.random(n) < 0.4
    truth[:2] = [True, False]
    return truth, rng.integers(-3, 4, n).astype(float), rng.choice([0.5, 1.0, 7.0], n)


def slow_auprc(truth: np.ndarray, answers: np.ndarray, weights: np.ndarray) -> float:
    total, before = 0.0, 0.0
    whole = sum(w for t, w in zip(truth, weights, strict=True) if t)
    for threshold in sorted(set(answers), reverse=True):
        said = [(t, w) for t, a, w in zip(truth, answers, weights, strict=True) if a >= threshold]
        right = sum(w for t, w in said if t)
        total += (right / whole - before) * right / sum(w for _, w in said)
        before = right / whole
    return total


@pytest.mark.parametrize("seed", range(20))
def test_figures_agree_with_their_slow_twins(seed: int) -> None:
    truth, answers, weights = drawn(seed)
    pairs = [
        ((answers[i] > answers[j]) + 0.5 * (answers[i] == answers[j]), weights[i] * weights[j])
        for i in np.flatnonzero(truth)
        for j in np.flatnonzero(~truth)
    ]
    assert measures.auc(truth, answers, weights) == pytest.approx(
        sum(p * w for p, w in pairs) / sum(w for _, w in pairs)
    )
    assert measures.auprc(truth, answers, weights) == pytest.approx(slow_auprc(truth, answers, weights))
    both = sum(w for t, a, w in zip(truth, answers, weights, strict=True) if t and a > 0)
    said, real = weights[answers > 0].sum(), weights[truth].sum()
    assert measures.f1(truth, answers, weights) == pytest.approx(2 * both / (said + real))
    assert measures.iou(truth, answers, weights) == pytest.approx(both / (said + real - both))


def test_weights_are_copies() -> None:
    truth, answers, _ = drawn(1)
    times = np.random.default_rng(0).integers(1, 4, len(truth))
    copied = [np.repeat(x, times) for x in (truth, answers)]
    ones = np.ones(times.sum())
    for figure in (measures.auc, measures.auprc, measures.f1, measures.iou):
        assert figure(truth, answers, times.astype(float)) == pytest.approx(figure(*copied, ones))


def test_one_kind_alone_has_no_figure() -> None:
    none, some = np.zeros(3, bool), np.arange(3.0)
    assert np.isnan(measures.auc(none, some, some))
    assert np.isnan(measures.auprc(none, some, some))
    assert np.isnan([figure(none, some, np.ones(3)) for figure in (measures.f1, measures.iou)]).all()
    assert np.isnan(measures.auprc(none[:0], some[:0], some[:0]))


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng, inside = np.random.default_rng(3), 0
    from scipy.stats import norm

    true_auc = float(norm.cdf(1.0 / np.sqrt(2)))
    for _ in range(120):
        answers = np.concatenate([rng.normal(1, 1, 30), rng.normal(0, 1, 30)])
        truth = np.arange(60) < 30
        low, high = measures.interval(measures.auc, truth, answers, np.ones(60), draws=200, rng=rng)
        inside += low <= true_auc <= high
    assert 0.87 <= inside / 120 <= 0.995
