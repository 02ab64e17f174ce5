"""Are the positions around a peak active as well? Then a passage excites the neuron, and not what stands at a place.

Cost: one comparison a window position.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from neurolocal.records import TopK

REACH = 5
"""Positions looked at on either side of a peak."""


def kept_around(top: TopK, *, before: int) -> Float64[np.ndarray, "neuron"]:
    """Share of the positions around the peaks that keep half of the activation, by neuron; NaN where there are none.

    Args:
        top: the lists of a layer.
        before: window positions before the peak.
    """
    near = np.arange(max(0, before - REACH), min(top.window.shape[2], before + REACH + 1))
    around = top.window[:, :, near[near != before]]
    peak = top.activation[:, :, None]
    there = np.isfinite(around) & np.isfinite(peak)
    kept = there & np.where(peak >= 0, around >= peak / 2, around <= peak / 2)
    n = there.sum(axis=(1, 2))
    return np.where(n > 0, kept.sum(axis=(1, 2)) / np.maximum(n, 1), np.nan)
