"""The k largest values over N rows -> the expected maximum over n rows of the same text, for smaller or larger n.

Invariant: rows are exchangeable, each counts once with its strongest position, and the n rows are a subset of the N
rows, or a superset if n > N. So n = N gives the maximum itself. Within the listed values the answer is exact. Beyond
them, a generalised Pareto tail is fitted to the excesses over the k-th value: its scale by neuron, its shape by layer,
because 20 values determine a shape poorly and 1,000 neurons together determine it well. The README has the error.
Cost: O(neurons x k x `POINTS`) time and O(neurons x `POINTS`) memory.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

POINTS = 256
"""Quantiles by which the distribution of the maximum beyond the list is integrated."""


def expected_maximum(
    largest: Float64[np.ndarray, "neuron k"], *, rows: int, wanted: int
) -> Float64[np.ndarray, "neuron"]:
    """The expected maximum over `wanted` rows of every neuron of a layer.

    Args:
        largest: the k largest values over the rows, one a row, descending; unused slots NaN, and last.
        rows: number of rows that the values come from.
        wanted: number of rows whose maximum is expected.

    The result is NaN for a neuron without values.
    """
    assert rows > 0
    assert wanted > 0
    used = np.isfinite(largest).sum(axis=1)
    expected = np.full(len(largest), np.nan)
    for k in np.unique(used[used > 0]).tolist():  # nearly always one
        group = used == k
        values = largest[group, :k]
        seen = max(rows, k)
        if wanted <= seen:
            expected[group] = _of_fewer(values, seen, wanted)
        else:
            expected[group] = _of_more(values, seen, wanted)
    return expected


def shape(excess: Float64[np.ndarray, "neuron m"]) -> float:
    """The tail's shape, shared by the neurons of a layer: 0 is exponential, above 0 heavier, below 0 bounded.

    By L-moments (Hosking and Wallis 1987) of the excesses over a threshold, each neuron's in units of their mean: the
    mean of half the Gini difference / mean is 1 / (2 - shape) and, unlike a variance, has no bias at 20 values.
    """
    m = excess.shape[1]
    mean = excess.mean(axis=1)
    alive = mean > 0
    if m < 2 or not alive.any():
        return 0.0
    ascending = np.sort(excess[alive], axis=1)
    gini = (ascending @ (2 * np.arange(m) / (m - 1) - 1) / m / mean[alive]).mean()
    return float(np.clip(2 - 1 / max(gini, 1e-3), -2.0, 0.9))


def _of_fewer(values: Float64[np.ndarray, "neuron k"], rows: int, wanted: int) -> Float64[np.ndarray, "neuron"]:
    """Rank r is the best of the drawn rows with probability C(rows - r - 1, wanted - 1) / C(rows, wanted)."""
    k = values.shape[1]
    weight, weights = wanted / rows, np.zeros(k)
    for rank in range(k):
        weights[rank] = weight
        weight *= max(rows - rank - wanted, 0) / max(rows - rank - 1, 1)
    rest = 1.0 - weights.sum()
    if rest < 1e-12:
        return values @ (weights / weights.sum())
    # If none of the listed rows is drawn, the maximum lies below the k-th value, at an exponential depth.
    depth = np.minimum(k / rows + _exponential() / wanted, 1.0)
    return values @ weights + rest * _tail(values, rows, depth).mean(axis=1)


def _of_more(values: Float64[np.ndarray, "neuron k"], rows: int, wanted: int) -> Float64[np.ndarray, "neuron"]:
    """The larger of the known maximum and the expected maximum of the other rows."""
    fresh = _tail(values, rows, np.minimum(_exponential() / (wanted - rows), 1.0))
    return np.maximum(values[:, :1], fresh).mean(axis=1)


def _tail(
    values: Float64[np.ndarray, "neuron k"], rows: int, depth: Float64[np.ndarray, "point"]
) -> Float64[np.ndarray, "neuron point"]:
    """The value that a share `depth` of all rows exceeds."""
    k = values.shape[1]
    least = values[:, -1:]
    if k < 2:
        return np.broadcast_to(least, (len(values), len(depth)))
    excess = values[:, :-1] - least
    xi = shape(excess)
    scale = excess.mean(axis=1, keepdims=True) * (1 - xi)
    ratio = np.log(k / rows / depth)
    return least + scale * (ratio if abs(xi) < 1e-6 else np.expm1(xi * ratio) / xi)


def _exponential() -> Float64[np.ndarray, "point"]:
    """Quantiles of the standard exponential distribution: `wanted` times the share of rows above their maximum."""
    return -np.log((np.arange(POINTS) + 0.5) / POINTS)
