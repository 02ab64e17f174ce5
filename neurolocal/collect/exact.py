"""Sums of float64 values that are equal in any order of addition, because they are added as fixed-point integers.

A sum is a pair of int64: the whole part, and a fraction in units of 2^-60 with 0 <= fraction < 2^60.
Invariant: integer addition is associative, so a corpus gives the same bits in one run, in shards, and interrupted and
resumed; floating-point addition would not. Range: |sum| < 9.2e18 units; a single value beyond 4.6e18 counts as 4.6e18.
Sums of powers are in the units of `records.MOMENT_UNITS`. Cost: 16 bytes a sum.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

SCALE = 60
MASK = (1 << SCALE) - 1
LIMIT = 2.0**62


def add_parts(
    whole: Int64[np.ndarray, "*shape"],
    fraction: Int64[np.ndarray, "*shape"],
    more_whole: Int64[np.ndarray, "*shape"],
    more_fraction: Int64[np.ndarray, "*shape"],
) -> None:
    """Add sums to sums, in place."""
    fraction += more_fraction
    whole += more_whole + (fraction >> SCALE)
    fraction &= MASK
