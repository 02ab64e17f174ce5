"""Neighbours against controls of the same examples: shares, AUC, a paired permutation test, and q over the layer.

Invariant: values are `activation / original`, one line an example, NaN where there was no such substitute; every
figure is NaN where nothing was measured. The test compares within examples only, so that a strong example can't pass
for a strong neighbour.
Cost: the permutation test some 2 ms a neuron (10 examples x 10 substitutes x 1,000 permutations).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int64

Values = Float[np.ndarray, "example substitute"]
Neighbours = Float[np.ndarray, "example neighbour"]
Controls = Float[np.ndarray, "example control"]


def share(values: Values, least: float) -> float:
    """Share of the values at or above `least`."""
    there = values[~np.isnan(values)]
    return float((there >= least).mean()) if there.size else float("nan")


def mean(values: Values) -> float:
    """Mean of the values."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")


def auc(neighbours: Neighbours, controls: Controls) -> float:
    """Probability that a neighbour is above a control of the same example, over all such pairs; ties count half."""
    a, b = neighbours[:, :, None], controls[:, None, :]
    pairs = (~np.isnan(a) & ~np.isnan(b)).sum()
    return float(((a > b).sum() + 0.5 * (a == b).sum()) / pairs) if pairs else float("nan")


def permutation_p(neighbours: Neighbours, controls: Controls, *, permutations: int, rng: np.random.Generator) -> float:
    """One-sided p of the mean difference: under the null, labels within an example can be swapped.

    The statistic is the mean over examples of (mean of neighbours - mean of controls); examples that lack either are
    left out. p = (1 + permutations that reach the observed statistic) / (1 + permutations), never 0.
    """
    m, c = (~np.isnan(neighbours)).sum(axis=1), (~np.isnan(controls)).sum(axis=1)
    paired = (m > 0) & (c > 0)
    if not paired.any():
        return float("nan")
    m, c = m[paired], c[paired]
    values = np.concatenate([neighbours, controls], axis=1)[paired].astype(np.float64)
    missing = np.isnan(values)
    values = np.where(missing, 0.0, values)
    total = values.sum(axis=1)
    observed = _statistic(values[None, :, : neighbours.shape[1]].sum(axis=2), total, m, c)[0]
    # The m lowest of random keys are a random choice of m; a missing substitute's key is too high to be chosen.
    keys = rng.random((permutations, *values.shape), dtype=np.float32)
    keys[:, missing] = 2.0
    limit = np.take_along_axis(np.sort(keys, axis=2), np.broadcast_to((m - 1)[:, None], (permutations, len(m), 1)), 2)
    drawn = _statistic(np.einsum("pes,es->pe", keys <= limit, values), total, m, c)
    # Sums in another order differ by rounding; equal statistics must count as reached.
    slack = 1e-9 * max(1.0, float(np.abs(values).max()))
    return (1 + int((drawn >= observed - slack).sum())) / (1 + permutations)


def _statistic(
    chosen: Float64[np.ndarray, "draw example"],
    total: Float64[np.ndarray, "example"],
    m: Int64[np.ndarray, "example"],
    c: Int64[np.ndarray, "example"],
) -> Float64[np.ndarray, "draw"]:
    """Mean difference of each draw, from the sum over its chosen m and the sum over all m + c."""
    return (chosen / m - (total - chosen) / c).mean(axis=1)
