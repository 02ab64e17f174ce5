"""q values: the false discovery rate over the neurons of a layer, by Benjamini and Hochberg (1995).

Cost: O(n log n).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


def q_values(p: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """The q value of each p; NaN stays NaN and is not counted as a test."""
    from scipy.stats import false_discovery_control

    q = np.full(len(p), np.nan)
    tested = ~np.isnan(p)
    if tested.any():
        q[tested] = false_discovery_control(p[tested])
    return q
