"""The null of coherence: random word sets of the same size, kinds and frequency, with draws shared by all neurons.

Invariant: a random set has as many words of each bin as the neuron's own set. A bin holds function words or
others, of about one frequency; within it words are drawn without replacement in proportion to their
counts, as a neuron that fires at random would meet them. All of this is needed: in every embedding frequent words are
close to each other, and so are rare words and function words. (Seen, share of p < 0.05 for random sets of
running words: 0.41 with ten equally filled bins and uniform draws, 0.08 with fine bins and uniform draws, 0.05 with
fine bins and draws by count.)
Cost: the draws of a bin are accumulated word by word once, so the null of a neuron is one addition a bin and one norm:
O(draws x dimensions x bins), whatever the size of the sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from neurolocal.errors import VectorsError
from neurolocal.progress import Bar
from neurolocal.similarity.vectors import Vectors
from neurolocal.words.classes import GRAMMAR

LEAST = 20
"""Fewest words of a bin: in a smaller bin the null would consist of the neuron's own words."""
PLACES = 4
"""Most parts into which a bin is divided by the words' place in the vectors' own order."""
PLACED = 100
"""Fewest words of such a part."""
BLOCK = 128
"""Draws computed together: 128 x 50 float32 fit into a core's cache, and memory does not depend on the draws."""
SMALL = 1024
"""Bins of up to this many words are sampled with one random key a word; larger bins by rejection."""
ROUNDING = 1e-6
"""A random score within this of the observed one counts as reaching it: the same set in another order differs so."""


@dataclass(frozen=True)
class Pool:
    """The words of the corpus that have a vector, in bins: function words, then others; most frequent first."""

    counts: Int64[np.ndarray, "word"]
    """Occurrences in the corpus."""
    unit: Float32[np.ndarray, "word d"]
    """Unit vectors."""
    edges: Int64[np.ndarray, "edge"]
    """Bin b holds words edges[b] to edges[b + 1]."""
    bins: dict[str, int]
    """Each word's bin."""
    log_place: Float64[np.ndarray, "bin"]
    """Mean log of its words' place in the vectors' own order (most frequent first); NaN where no word has a place."""

    @property
    def sizes(self) -> Int64[np.ndarray, "bin"]:
        """Words of each bin."""
        return np.diff(self.edges)

    def bin_of(self, word: str, vectors: Vectors) -> int:
        """The word's bin: by its count, else by its place in the vectors' order, else (composed) the lowest bin.

        A word that the counts lack need not be rare: a comma is at place 1 of GloVe. If it were compared with rare
        words, every neuron that fires on commas and full stops would appear coherent.
        """
        if word in self.bins:
            return self.bins[word]
        place = vectors.index(word)
        if place is None or np.isnan(self.log_place).all():
            return len(self.edges) - 2
        return int(np.nanargmin(np.abs(self.log_place - np.log1p(place))))


class NullResult(NamedTuple):
    """One entry a neuron; NaN where the pool has fewer words than the neuron."""

    mean: Float64[np.ndarray, "n"]
    """Mean score of the random sets."""
    sd: Float64[np.ndarray, "n"]
    """Their standard deviation (population)."""
    p: Float64[np.ndarray, "n"]
    """(1 + random sets that reach the score) / (draws + 1)."""


def frequency_pool(word_counts: Mapping[str, int], vectors: Vectors, *, bins: int) -> Pool:
    """The words of the corpus that have a vector, of each kind in at most `bins` bins of equal width in log frequency.

    Function words (`words/classes.py`) are one kind, if they are `LEAST` or more, and all others are one. Each bin is
    divided into up to `PLACES` parts by the words' place in the vectors' own order, which shows how frequent they are
    in the language: the words that are rare in a corpus are everyday words and rare names, and rare names are close
    to each other.

    Args:
        word_counts: case-folded words.
        vectors: word vectors.
        bins: most bins of a kind, before they are divided.

    Raises:
        VectorsError: fewer than two words have a vector.
    """
    known = []
    for word, count in sorted(word_counts.items(), key=lambda item: (-item[1], item[0])):
        vector = vectors.find(word) if count > 0 else None
        if vector is not None:
            known.append((word, count, vector))
    if len(known) < 2:
        raise VectorsError(
            f"vectors {vectors.name} know {len(known)} of the corpus's {len(word_counts)} words: too few for a null. "
            "Pass vectors of the corpus's language, or: corpus."
        )
    closed = np.array([word in GRAMMAR["function words"] for word, _, _ in known])
    n_closed = int(closed.sum()) if closed.sum() >= LEAST else 0
    if n_closed:
        known = [known[i] for i in np.argsort(~closed, kind="stable")]
    place = np.array([np.nan if (i := vectors.index(word)) is None else np.log1p(i) for word, _, _ in known])
    counts = np.array([count for _, count, _ in known], dtype=np.int64)
    order, edges = [], [0]
    kinds = [a + frequency_edges(counts[a:b], bins) for a, b in pairwise((0, n_closed, len(known))) if a < b]
    for low, high in (pair for of_kind in kinds for pair in pairwise(of_kind.tolist())):
        # Composed words have no place; they come last.
        order += (low + np.argsort(place[low:high], kind="stable")).tolist()
        parts = max(1, min(PLACES, (high - low) // PLACED))
        edges += [low + (high - low) * part // parts for part in range(1, parts + 1)]
    known, place = [known[i] for i in order], place[order]
    which = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    means = [place[low:high][~np.isnan(place[low:high])] for low, high in pairwise(edges)]
    return Pool(
        counts=counts[order],
        unit=np.stack([vector for _, _, vector in known]),
        edges=np.array(edges, dtype=np.int64),
        bins={word: int(b) for (word, _, _), b in zip(known, which, strict=True)},
        log_place=np.array([m.mean() if len(m) else np.nan for m in means]),
    )


def frequency_edges(counts: Int64[np.ndarray, "word"], bins: int) -> Int64[np.ndarray, "edge"]:
    """The edges of bins of equal width in log count, of descending counts; each bin has `LEAST` words or more.

    Fewer words than `LEAST` are one bin. Words of one count share a bin.
    """
    logs = np.log(counts)
    edges = [0]
    for b in range(1, bins):
        cut = int(np.searchsorted(-logs, -(logs[0] + (logs[-1] - logs[0]) * b / bins), side="right"))
        if cut - edges[-1] >= LEAST:
            edges.append(cut)
    if len(edges) > 1 and len(counts) - edges[-1] < LEAST:
        edges.pop()
    return np.array([*edges, len(counts)], dtype=np.int64)


def null_scores(
    pool: Pool,
    profiles: Int64[np.ndarray, "n bin"],
    *,
    score: Float[np.ndarray, "n"],
    draws: int,
    seed: int,
    progress: bool = False,
) -> NullResult:
    """Compare each score with `draws` random sets of the neuron's profile (words of each bin; two or more in all)."""
    fitted, fits = _fitted(profiles, pool.sizes)
    unique, inverse = np.unique(fitted, axis=0, return_inverse=True)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(inverse.reshape(-1), minlength=len(unique)))
    members = np.split(order, ends[:-1]) if len(unique) else []
    reached, total, square = np.zeros(len(score)), np.zeros(len(score)), np.zeros(len(score))
    bar = Bar(total=len(unique) * draws, desc="similarity: null", unit="set", unit_scale=True, disable=not progress)
    for begin in range(0, draws, BLOCK):
        width = min(BLOCK, draws - begin)
        prefix = _prefixes(pool, unique.max(axis=0, initial=0), width=width, seed=seed, block=begin // BLOCK)
        for these, null in zip(members, _sets(prefix, unique), strict=True):
            reached[these] += np.count_nonzero(null >= (score[these] - ROUNDING)[:, None], axis=1)
            total[these] += null.sum()
            square[these] += null @ null
            bar.update(width)
    bar.close()
    mean = np.where(fits, total / draws, np.nan)
    sd = np.sqrt(np.maximum(square / draws - mean**2, 0.0))
    return NullResult(mean, sd, np.where(fits, (1 + reached) / (draws + 1), np.nan))


def _fitted(
    profiles: Int64[np.ndarray, "n bin"], sizes: Int64[np.ndarray, "bin"]
) -> tuple[Int64[np.ndarray, "n bin"], Bool[np.ndarray, "n"]]:
    """Profiles that the bins can fill: a surplus moves to the next rarer bin, and from the last one back."""
    fitted = profiles.copy()
    for b, to in [*((b, b + 1) for b in range(len(sizes) - 1)), *((b, b - 1) for b in range(len(sizes) - 1, 0, -1))]:
        over = np.maximum(fitted[:, b] - sizes[b], 0)
        fitted[:, b] -= over
        fitted[:, to] += over
    fits = np.all(fitted <= sizes[None], axis=1, keepdims=True)[:, 0]
    return np.minimum(fitted, sizes), fits


def _prefixes(
    pool: Pool, most: Int64[np.ndarray, "bin"], *, width: int, seed: int, block: int
) -> list[Float32[np.ndarray, "_ draw d"]]:
    """For each bin the sums of its first 0, 1, ... `most` drawn words, for `width` draws."""
    prefixes = []
    for b, m in enumerate(most):
        low, high = int(pool.edges[b]), int(pool.edges[b + 1])
        drawn = low + draw(pool.counts[low:high], int(m), width=width, rng=np.random.default_rng([seed, b, block]))
        sums = np.zeros((int(m) + 1, width, pool.unit.shape[1]), np.float32)
        np.cumsum(pool.unit[drawn], axis=0, out=sums[1:])
        prefixes.append(sums)
    return prefixes


def _sets(
    prefix: list[Float32[np.ndarray, "_ draw d"]], unique: Int64[np.ndarray, "profile bin"]
) -> Iterator[np.ndarray]:
    """The scores of a block of random sets, profile by profile; sorted profiles share the sums of their first bins."""
    sums: list[np.ndarray] = [prefix[0][0]] * (len(prefix) + 1)
    buffers = [np.empty_like(prefix[0][0]) for _ in prefix]
    before = np.full(unique.shape[1], -1)
    for profile in unique:
        for b in range(int(np.argmax(profile != before)), len(profile)):
            m = profile[b]
            # A bin without words passes the sum on, without a copy.
            sums[b + 1] = np.add(sums[b], prefix[b][m], out=buffers[b]) if m else sums[b]
        before = profile
        n = int(profile.sum())
        norms = np.einsum("ij,ij->i", sums[-1], sums[-1]).astype(np.float64)
        yield (norms - n) / (n * (n - 1))


def draw(
    weights: Int64[np.ndarray, "word"], m: int, *, width: int, rng: np.random.Generator
) -> Int64[np.ndarray, "m draw"]:
    """`width` draws of m words, one after the other, without replacement, in proportion to their weights.

    The first words of a draw are a draw of that size. Small bins: the m smallest of Exponential / weight (Efraimidis
    and Spirakis, 2006). Large bins: draws with replacement from which repeats are removed; their distribution is equal.
    """
    n, many = len(weights), 2 * m + 8
    assert m <= n, (m, n)
    if n > SMALL:
        cumulative = np.cumsum(weights)
        candidates = np.empty((0, width), np.int64)
        while len(candidates) < n:
            more = np.searchsorted(cumulative, rng.random((many, width)) * cumulative[-1], side="right")
            candidates = np.concatenate([candidates, np.minimum(more, n - 1)])
            fresh = _first_seen(candidates)
            if (fresh.sum(axis=0) >= m).all():
                # A stable sort by "seen before" puts the new words first, in the order of the draw.
                return np.take_along_axis(candidates, np.argsort(~fresh, axis=0, kind="stable")[:m], axis=0)
    keys = rng.standard_exponential((width, n)) / weights
    first = np.argpartition(keys, m - 1, axis=1)[:, :m] if 0 < m < n else np.arange(n)[None].repeat(width, 0)[:, :m]
    order = np.argsort(np.take_along_axis(keys, first, axis=1), axis=1)
    return np.take_along_axis(first, order, axis=1).T


def _first_seen(drawn: Int64[np.ndarray, "m draw"]) -> Bool[np.ndarray, "m draw"]:
    order = np.argsort(drawn, axis=0, kind="stable")
    ordered = np.take_along_axis(drawn, order, axis=0)
    fresh = np.ones(drawn.shape, bool)
    np.put_along_axis(fresh, order[1:], ordered[1:] != ordered[:-1], axis=0)
    return fresh
