"""How well does the best group of random words hold together? The null of a part.

Random words of the same kinds and frequency (`similarity/null.py`) are clustered by average linkage, and of every set
the best group of all merges counts, whatever words it holds. So a p allows for the choice of the group. Sets come in
blocks and end when `ENOUGH` reached the observed value (Besag and Clifford, 1991): small p values are exact, and large
ones are cheap.
Invariant: the words of a bin are drawn once for all neurons and layers, so the same words, pool and seed give the same
p. Cost: `linkage.best_groups` of each block; the drawn words take `CACHED` bytes at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Int32

from neurolocal.meanings.groups import Scale
from neurolocal.meanings.linkage import best_groups
from neurolocal.similarity.null import Pool, draw
from neurolocal.similarity.vectors import Vectors

FIRST, BLOCK = 99, 500
"""Random sets of the first block, and of each of the others."""

BLOCKS = 80
"""Most blocks: 39,599 sets."""

ENOUGH = 10
"""Random sets that reach the observed value, after which no more are drawn."""

CACHED = 1 << 26
"""Bytes of drawn words that are kept."""

PAIRS = 20_000
"""Random pairs from which the scale of cosines is estimated."""

ROUNDING = 1e-5
"""A random group within this of the observed one counts as reaching it."""


class Null:
    """The random sets that the groups of a layer's neurons are compared with."""

    def __init__(self, pool: Pool, vectors: Vectors, *, most: int, least: int, seed: int) -> None:
        """`most`: words of the largest set that will be asked for; `least`: fewest words of a group."""
        self.pool, self.vectors, self.least, self.scale = pool, vectors, least, scale_of(pool, seed)

        @lru_cache(max(1, CACHED // (4 * BLOCK * max(most, 1))))
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
            best = best_groups(self.pool.unit, self.sets(words, block), *self.scale, self.least)
            reached += int((best >= holds - ROUNDING).sum())
            total += len(best)
            if reached >= ENOUGH:
                break
        return (1 + reached) / (1 + total)

    def sets(self, words: Sequence[str], block: int) -> Int32[np.ndarray, "set word"]:
        """A block of random sets, as indices, with as many words of each bin; a bin that is too small gives all."""
        bins, wanted = np.unique([self.pool.bin_of(word, self.vectors) for word in words], return_counts=True)
        drawn = [self._drawn(b, block)[:n] for b, n in zip(bins.tolist(), wanted.tolist(), strict=True)]
        return np.ascontiguousarray(np.concatenate(drawn).T)


def scale_of(pool: Pool, seed: int) -> Scale:
    """Mean and standard deviation of the cosine of random pairs of different words, drawn by count."""
    drawn = draw(pool.counts, 2, width=PAIRS, rng=np.random.default_rng([seed, len(pool.counts)]))
    cosine = np.einsum("nd,nd->n", pool.unit[drawn[0]], pool.unit[drawn[1]], dtype=np.float64)
    return Scale(float(cosine.mean()), max(float(cosine.std()), 1e-6))
