"""Sums that come out the same in any order: float64 values added as fixed-point integers.

A sum is a pair of int64: whole part and a fraction in units of 2^-60, 0 <= fraction < 2^60. Integer addition is
associative, so a corpus in one run, in shards, or stopped and resumed gives the same bits; floating point would not.
Range: |sum| < 9.2e18 units; a value beyond that counts as 4.6e18. Sums of powers have the units of
`records.MOMENT_UNITS`.
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
