"""Is the effect larger than a random neuron's? One p a neuron, from the controls of the whole layer.

Cost: O(neurons x controls).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

LEAST = 1e-9
"""Nats: a smaller divergence is rounding."""


def p_values(
    own: Float[np.ndarray, "neuron place"], controls: Float[np.ndarray, "neuron place control"]
) -> Float64[np.ndarray, "neuron"]:
    """One-sided p that a neuron's divergences exceed those of random neurons changed as much at the same places.

    The statistic is the mean over places of log(divergence), less the mean of its controls'. Each control, less the
    mean of its fellow controls, is a draw from the null; the draws of all tested neurons are taken together. p = (1 +
    draws that reach the statistic) / (1 + draws). A fellow is fewer behind a control than behind the neuron, so the
    null is a little wide and p a little large.

    Args:
        own: divergence of the neuron, in nats; NaN where it has no such place.
        controls: the same of its controls.

    Returns:
        NaN where a neuron has no place, or fewer than two controls.
    """
    p = np.full(len(own), np.nan)
    if controls.shape[2] < 2 or not own.shape[1]:
        return p
    there = ~np.isnan(own)
    tested = there.any(axis=1)
    number = np.maximum(there.sum(axis=1), 1)
    neuron = np.where(there, np.log(np.maximum(own, LEAST)), 0.0).sum(axis=1) / number
    others = np.where(there[:, :, None], np.log(np.maximum(controls, LEAST)), 0.0).sum(axis=1) / number[:, None]
    n = others.shape[1]
    drawn = np.sort((others - (others.sum(axis=1, keepdims=True) - others) / (n - 1))[tested].ravel())
    statistic = (neuron - others.mean(axis=1))[tested]
    reached = len(drawn) - np.searchsorted(drawn, statistic - 1e-12, side="left")
    p[tested] = (1 + reached) / (1 + len(drawn))
    return p
