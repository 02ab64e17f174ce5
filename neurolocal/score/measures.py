"""Figures of a binary classifier: AUPRC, F1, IoU, AUC, and their bootstrap intervals.

Of the field's measures only F1, IoU, Pearson, cosine and AUPRC pass the sanity checks of NeuronEval (ICML 2025), and
only over texts in their natural proportion: a rare neuron is not told from a description that fits twice as many texts
where both kinds of text are as frequent. Therefore these are computed by weights. AUC, whose value for a random
classifier is 0.5, is computed over the drawn texts.

Invariant: the caller leaves out NaN answers; a figure that is not defined is NaN. Cost: O(n log n) in the texts, AUC
O(n^2); an interval takes `draws` figures.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float64

Truth = Bool[np.ndarray, "n"]
Values = Float64[np.ndarray, "n"]
Figure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""(truth, answers, weights) -> figure."""


def auc(truth: Truth, answers: Values, weights: Values) -> float:
    """Probability that the answer of a true text is above that of a false one; ties count half."""
    a, b = answers[truth], answers[~truth]
    pairs = weights[truth][:, None] * weights[~truth]
    if not pairs.sum() > 0:
        return float("nan")
    return float((pairs * ((a[:, None] > b) + 0.5 * (a[:, None] == b))).sum() / pairs.sum())


def auprc(truth: Truth, answers: Values, weights: Values) -> float:
    """Average precision: the sum over thresholds of recall gained x precision; equal answers are one threshold."""
    order = np.argsort(-answers, kind="stable")
    true, every = np.cumsum((weights * truth)[order]), np.cumsum(weights[order])
    if not len(truth) or not true[-1] > 0:
        return float("nan")
    last = np.append(np.diff(answers[order]) != 0, True)
    true, every = true[last], every[last]
    return float((np.diff(true, prepend=0.0) / true[-1] * true / every).sum())


def f1(truth: Truth, answers: Values, weights: Values) -> float:
    """F1 of answers above 0: 2 both / (true + said)."""
    yes = answers > 0
    real, said, both = (float(weights[m].sum()) for m in (truth, yes, truth & yes))
    return 2 * both / (real + said) if real else float("nan")


def iou(truth: Truth, answers: Values, weights: Values) -> float:
    """Intersection over union of the true texts and those with an answer above 0: F1 / (2 - F1)."""
    found = f1(truth, answers, weights)
    return found / (2 - found)


def interval(
    figure: Figure, truth: Truth, answers: Values, weights: Values, *, draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % percentile interval over bootstrap draws, true and false texts each drawn as often as there are."""
    kinds = [np.flatnonzero(truth), np.flatnonzero(~truth)]
    found = []
    for _ in range(draws):
        i = np.concatenate([k[rng.integers(len(k), size=len(k))] if len(k) else k for k in kinds])
        found.append(figure(truth[i], answers[i], weights[i]))
    low, high = np.nanquantile(found, [0.025, 0.975]) if not np.isnan(found).all() else (np.nan, np.nan)
    return float(low), float(high)
