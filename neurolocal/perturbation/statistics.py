"""Figures of many neurons at once: shares, AUC, dose-response, and a paired permutation test.

Invariant: values are `activation / original`, one row an example, NaN where there was no such substitute; a figure
without any value is NaN. Neighbours and controls are compared within examples only, so that a strong example does not
count as a strong neighbour. Neurons are independent of each other; all use the same permutations.
Cost: O(neurons x examples x substitutes x permutations) for the test; memory is limited by `BLOCK`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

Values = Float[np.ndarray, "neuron example substitute"]
Figure = Float64[np.ndarray, "neuron"]

BLOCK = 2048
"""Neurons whose permutations are in memory at once; 2,048 x 1,000 float64 are 16 MB."""


def share(values: Values, least: float) -> Figure:
    """Share of each neuron's values at or above `least`."""
    there = ~np.isnan(values)
    return _ratio(((values >= least) & there).sum(axis=(1, 2)), there.sum(axis=(1, 2)))


def mean(values: Values) -> Figure:
    """Mean of each neuron's values."""
    there = ~np.isnan(values)
    return _ratio(np.where(there, values, 0.0).sum(axis=(1, 2), dtype=np.float64), there.sum(axis=(1, 2)))


def number(values: Values) -> Int64[np.ndarray, "neuron"]:
    """Number of values of each neuron."""
    return (~np.isnan(values)).sum(axis=(1, 2))


def auc(
    neighbours: Float[np.ndarray, "neuron example neighbour"], controls: Float[np.ndarray, "neuron example control"]
) -> Figure:
    """Share of the pairs (neighbour, control) of one example in which the neighbour is larger; ties count half."""
    a, b = neighbours[:, :, :, None], controls[:, :, None, :]
    pairs = (~np.isnan(a) & ~np.isnan(b)).sum(axis=(1, 2, 3))
    return _ratio((a > b).sum(axis=(1, 2, 3)) + 0.5 * (a == b).sum(axis=(1, 2, 3)), pairs)


def dose(cosines: Values, values: Values) -> Figure:
    """Mean over examples of Spearman's rank correlation of cosine and value; ties have their mean rank.

    Examples with fewer than three pairs, or in which cosine or value is constant, are left out.
    """
    there = ~np.isnan(cosines) & ~np.isnan(values)
    a, b = _ranks(cosines, there), _ranks(values, there)
    n = there.sum(axis=2)
    centred = [np.where(there, r - ((n + 1) / 2)[:, :, None], 0.0) for r in (a, b)]
    scale = np.sqrt((centred[0] ** 2).sum(axis=2) * (centred[1] ** 2).sum(axis=2))
    counts = (n >= 3) & (scale > 0)
    rho = np.where(counts, (centred[0] * centred[1]).sum(axis=2) / np.where(counts, scale, 1.0), 0.0)
    return _ratio(rho.sum(axis=1), counts.sum(axis=1))


def _ranks(values: Values, there: Bool[np.ndarray, "neuron example substitute"]) -> Float64[np.ndarray, "n e s"]:
    """Ranks from 1 among the values of `there`."""
    with np.errstate(invalid="ignore"):
        below = (values[..., None, :] < values[..., :, None]) & there[..., None, :]
        equal = (values[..., None, :] == values[..., :, None]) & there[..., None, :]
    return below.sum(axis=-1) + 0.5 * (equal.sum(axis=-1) + 1.0)


def permutation_p(
    neighbours: Float[np.ndarray, "neuron example neighbour"],
    controls: Float[np.ndarray, "neuron example control"],
    *,
    permutations: int,
    seed: int,
) -> Figure:
    """One-sided p of the mean difference: under the null the labels within an example are exchangeable.

    The statistic is the mean over examples of (mean of neighbours - mean of controls); examples without either are left
    out. p = (1 + permutations that reach the observed statistic) / (1 + permutations), so p is never 0.
    """
    p = np.full(len(neighbours), np.nan)
    draws = _Draws(permutations, seed)
    for begin in range(0, len(p), BLOCK):
        block = slice(begin, begin + BLOCK)
        p[block] = _block_p(neighbours[block], controls[block], draws)
    return p


def _block_p(
    neighbours: Float[np.ndarray, "neuron example neighbour"],
    controls: Float[np.ndarray, "neuron example control"],
    draws: _Draws,
) -> Figure:
    m, c = (~np.isnan(neighbours)).sum(axis=2), (~np.isnan(controls)).sum(axis=2)
    paired = (m > 0) & (c > 0)
    values = np.concatenate([neighbours, controls], axis=2).astype(np.float64)
    missing = np.isnan(values)
    # Missing values are moved to the end, so that the counts (m, c) determine the layout of an example.
    order = np.argsort(missing, axis=2, kind="stable")
    values = np.take_along_axis(np.where(missing, 0.0, values), order, axis=2)
    observed, drawn = np.zeros(len(values)), np.zeros((len(values), draws.n))
    for example in range(values.shape[1]):
        for have in {*zip(m[:, example].tolist(), c[:, example].tolist(), strict=True)}:
            at = np.flatnonzero((m[:, example] == have[0]) & (c[:, example] == have[1]) & paired[:, example])
            if len(at):
                there = values[at, example, : sum(have)]
                observed[at] += there @ draws.weights(example, *have)[0]
                drawn[at] += there @ draws.weights(example, *have)[1]
    # Sums in another order differ by rounding, and equal statistics must count as reached.
    slack = 1e-9 * np.maximum(1.0, np.abs(values).max(axis=(1, 2), initial=0.0) * values.shape[1])
    reached = (drawn >= (observed - slack)[:, None]).sum(axis=1)
    return np.where(paired.any(axis=1), (1 + reached) / (1 + draws.n), np.nan)


class _Draws:
    """The permutations: for an example with m neighbours and c controls, the weight of each value in each draw."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self._weights: dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]] = {}

    def weights(
        self, example: int, m: int, c: int
    ) -> tuple[Float64[np.ndarray, "value"], Float64[np.ndarray, "value draw"]]:
        """For the true labels, and for each draw: 1/m where the label is neighbour, -1/c where it is control."""
        if (example, m, c) not in self._weights:
            own = np.array([1 / m] * m + [-1 / c] * c)
            rng = np.random.default_rng([self.seed, example, m, c])
            self._weights[example, m, c] = own, rng.permuted(np.tile(own, (self.n, 1)), axis=1).T.copy()
        return self._weights[example, m, c]


def _ratio(part: np.ndarray, whole: np.ndarray) -> Figure:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan).astype(np.float64)
