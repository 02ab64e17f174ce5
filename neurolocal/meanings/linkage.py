"""The best group of each of many sets of words, by average linkage (compiled by numba).

Invariant: the groups of a set are those of `scipy.cluster.hierarchy.linkage(..., "average")` on 1 - cosine; of equally
near pairs the first. Cost: O(n^3 / 6 + n^2 d) for a set of n words; memory for one set.
"""

# pyright: reportMissingParameterType=false
# Kernels are compiled for the types that they are called with.

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, error_model="numpy", cache=True)
def best_groups(unit, sets, mean, sd, least):
    """Of each set, how well its best group holds together (`groups.Scale.holds`), over all merges of its tree.

    Args:
        unit: (word, d) float32, unit vectors.
        sets: (set, n) int32, the words of each set.
        mean: mean cosine of random pairs.
        sd: its standard deviation.
        least: fewest words of a group.

    Returns:
        (set,) float64; -inf where a set has fewer words.
    """
    n_sets, n = sets.shape
    d = unit.shape[1]
    best = np.full(n_sets, -np.inf)
    cosine, total = np.empty((n, n), np.float64), np.empty((n, d), np.float64)
    size, alive = np.empty(n, np.int64), np.empty(n, np.int64)
    for s in range(n_sets):
        for i in range(n):
            size[i], alive[i] = 1, i
            for k in range(d):
                total[i, k] = unit[sets[s, i], k]
        for i in range(n):
            for j in range(i):
                product = 0.0
                for k in range(d):
                    product += total[i, k] * total[j, k]
                cosine[i, j] = cosine[j, i] = product
        for left in range(n, 1, -1):
            nearest, a, b = -np.inf, 0, 0
            for i in range(left):
                for j in range(i):
                    if cosine[alive[i], alive[j]] > nearest:
                        nearest, a, b = cosine[alive[i], alive[j]], j, i
            kept, gone = alive[a], alive[b]
            alive[b] = alive[left - 1]
            merged, square = size[kept] + size[gone], 0.0
            for i in range(left - 1):
                other = alive[i]
                mixed = (size[kept] * cosine[kept, other] + size[gone] * cosine[gone, other]) / merged
                cosine[kept, other] = cosine[other, kept] = mixed
            size[kept] = merged
            for k in range(d):
                total[kept, k] += total[gone, k]
                square += total[kept, k] ** 2
            if merged >= least:
                within = (square - merged) / (merged * (merged - 1))
                best[s] = max(best[s], (within - mean) * np.sqrt(merged * (merged - 1) / 2) / sd)
    return best
