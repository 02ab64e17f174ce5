"""How well does the best group of random words hold together? The null of a part.

Random words of the same kinds and frequency (`similarity/null.py`) are clustered by average linkage, many sets at once;
of every set the best group of all merges counts, whatever words it holds. So a p allows for the choice of the group.
Sets come in blocks and end when `ENOUGH` reached the observed value (Besag and Clifford, 1991): the smallest p
is 1 / 40,000, and large ones are cheap.
Invariant: the words of a bin are drawn once for all neurons, so the same words, pool and seed give the same p. Cost:
O(sets x n^3) for n words: 99 sets of 10 words take about 1 ms; see `CACHED` for memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64, Int32

from neurolocal.meanings.groups import Scale
from neurolocal.similarity.null import Pool, draw
from neurolocal.similarity.vectors import Vectors

FIRST, BLOCK = 99, 500
"""Random sets of the first block, and of each of the others, which fit into a core's cache."""

BLOCKS = 80
"""Most blocks: 39,599 sets."""

ENOUGH = 10
"""Random sets that reach the observed value, after which no more are drawn."""

CACHED = 2000
"""Drawn bins and blocks that are kept: of 20 words each takes 40 kB."""

PAIRS = 20_000
"""Random pairs from which the scale of cosines is estimated."""

ROUNDING = 1e-5
"""A random group within this of the observed one counts as reaching it."""


class Null:
    """The random sets that the groups of a layer's neurons are compared with."""

    def __init__(self, pool: Pool, vectors: Vectors, *, most: int, least: int, seed: int) -> None:
        """`most`: words of the largest set that will be asked for; `least`: fewest words of a group."""
        self.pool, self.vectors, self.least, self.scale = pool, vectors, least, scale_of(pool, seed)

        @lru_cache(CACHED)
        def drawn(b: int, block: int) -> Int32[np.ndarray, "word draw"]:
            low, high = int(pool.edges[b]), int(pool.edges[b + 1])
            rng = np.random.default_rng([seed, b, block])
            found = draw(pool.counts[low:high], min(most, high - low), width=BLOCK if block else FIRST, rng=rng)
            return (low + found).astype(np.int32)

        self._drawn = drawn

    def p(self, holds: float, words: Sequence[str], *, blocks: int = BLOCKS) -> float:
        """(1 + random sets whose best group holds together as well) / (1 + sets).

        Args:
            holds: the observed value.
            words: those among which the observed group was found.
            blocks: at most.
        """
        reached = total = 0
        for block in range(blocks):
            best = best_groups(self.sets(words, block), self.scale, self.least)
            reached += int((best >= holds - ROUNDING).sum())
            total += len(best)
            if reached >= ENOUGH:
                break
        return (1 + reached) / (1 + total)

    def sets(self, words: Sequence[str], block: int) -> Float32[np.ndarray, "draw word d"]:
        """Unit vectors of a block of random sets with as many words of each bin; a bin that is too small gives all."""
        bins, wanted = np.unique([self.pool.bin_of(word, self.vectors) for word in words], return_counts=True)
        drawn = [self._drawn(b, block)[:n] for b, n in zip(bins.tolist(), wanted.tolist(), strict=True)]
        return self.pool.unit[np.concatenate(drawn).T]


def scale_of(pool: Pool, seed: int) -> Scale:
    """Mean and standard deviation of the cosine of random pairs of different words, drawn by count."""
    drawn = draw(pool.counts, 2, width=PAIRS, rng=np.random.default_rng([seed, len(pool.counts)]))
    cosine = np.einsum("nd,nd->n", pool.unit[drawn[0]], pool.unit[drawn[1]], dtype=np.float64)
    return Scale(float(cosine.mean()), max(float(cosine.std()), 1e-6))


def best_groups(unit: Float32[np.ndarray, "draw word d"], scale: Scale, least: int) -> Float64[np.ndarray, "draw"]:
    """Of each set, how well the best group of `least` words or more holds together, over all merges of its tree."""
    draws, n, _ = unit.shape
    every, diagonal = np.arange(draws), np.arange(n)
    cosine = unit @ unit.transpose(0, 2, 1)
    cosine[:, diagonal, diagonal] = -np.inf
    size, total, best = np.ones((draws, n)), unit.astype(np.float64), np.full(draws, -np.inf)
    for _ in range(n - 1):
        one, other = np.divmod(cosine.reshape(draws, -1).argmax(axis=1), n)
        kept, gone = np.minimum(one, other), np.maximum(one, other)
        a, b = size[every, kept], size[every, gone]
        merged = (cosine[every, kept] * a[:, None] + cosine[every, gone] * b[:, None]) / (a + b)[:, None]
        cosine[every, kept], cosine[every, :, kept] = merged, merged
        cosine[every, gone], cosine[every, :, gone] = -np.inf, -np.inf
        cosine[every, kept, kept] = -np.inf
        total[every, kept] += total[every, gone]
        size[every, kept] = a + b
        best = np.where(a + b >= least, np.maximum(best, _holds(total[every, kept], a + b, scale)), best)
    return best


def _holds(
    total: Float64[np.ndarray, "draw d"], n: Float64[np.ndarray, "draw"], scale: Scale
) -> Float64[np.ndarray, "draw"]:
    square = np.einsum("nd,nd->n", total, total)
    return scale.holds((square - n) / (n * (n - 1)), n)
