"""How alike are two ranked lists of distinct items? Jaccard for the sets, rank-biased overlap for the order.

Invariant: both measures are symmetric, 1 for equal lists, 0 for disjoint ones, and NaN if a list is empty: without
evidence there is no disagreement. Cost: O(length of the lists).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import nan

P = 0.9
"""Persistence: the first 10 ranks carry 86 % of the weight."""


def jaccard(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """Items in both / items in either; NaN if a list is empty."""
    if not a or not b:
        return nan
    one, other = set(a), set(b)
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def rank_biased_overlap(a: Sequence[Hashable], b: Sequence[Hashable], *, p: float = P) -> float:
    """How alike two rankings are from the top down, in [0, 1]; NaN if one is empty.

    It is the mean over depths d of the share of items that both have among their first d, weighted by p^(d - 1). Below
    the ends of the lists the agreement at their ends is assumed to continue: RBO_ext, equation 32 of Webber, Moffat and
    Zobel, "A similarity measure for indefinite rankings", ACM TOIS 28(4), 2010, which also treats lists of different
    lengths.

    Args:
        a: distinct items, best first.
        b: the same of the other ranking; its length may differ.
        p: in (0, 1); the nearer to 1, the more the lower ranks count.
    """
    short, long = (a, b) if len(a) <= len(b) else (b, a)
    s, n = len(short), len(long)
    if not s:
        return nan
    above, below = set(), set()  # items seen so far of the long and of the short list
    overlap = at_short = 0
    total, weight = 0.0, 1.0
    for depth, item in enumerate(long, 1):
        weight *= p
        overlap += item in below
        above.add(item)
        if depth <= s:
            other = short[depth - 1]
            overlap += other in above
            below.add(other)
            at_short = overlap
            total += weight * overlap / depth
        else:
            total += weight * (overlap / depth + at_short * (depth - s) / (s * depth))
    extrapolated = (overlap - at_short) / n + at_short / s
    return min((1 - p) / p * total + extrapolated * weight, 1.0)
