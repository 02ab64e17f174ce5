"""Coherence: the mean cosine over pairs of unit vectors, computed from their sum.

Invariant: every vector has length 1, or 0 where it has no direction. Then |sum v|^2 = sum |v|^2 + 2 x (sum of the
cosines of distinct pairs). Cost: n additions of vectors in place of n^2 products.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def coherence(unit: Float[np.ndarray, "word d"]) -> float:
    """Mean cosine over distinct pairs of unit vectors: (|sum v|^2 - n) / (n (n - 1)); NaN for fewer than two."""
    n = len(unit)
    if n < 2:
        return float("nan")
    total = unit.sum(axis=0, dtype=np.float64)
    return float((total @ total - n) / (n * (n - 1)))


def self_paired(unit: Float[np.ndarray, "word d"]) -> tuple[float, int]:
    """Sum of cosines over all pairs i <= j, self-pairs included, and the number of pairs: the notebook's measure.

    A vector of length 0 has cosine 0 to every vector, itself included.
    """
    n = len(unit)
    wide = unit.astype(np.float64)
    total = wide.sum(axis=0)
    return float((total @ total + (wide * wide).sum()) / 2), n * (n + 1) // 2
