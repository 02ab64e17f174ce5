"""Many neurons, one threshold: q values of a layer, by Benjamini and Hochberg (1995)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


def q_values(p: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """q values over the p that are there; NaN stays NaN and does not count."""
    from scipy.stats import false_discovery_control

    q = np.full(len(p), np.nan)
    there = ~np.isnan(p)
    if there.any():
        q[there] = false_discovery_control(p[there])
    return q
