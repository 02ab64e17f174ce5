"""Frequency bands: the words of a corpus that are about as frequent as a word, sorted by similarity to it.

Invariant: words are case-folded and have a vector; words of equal count are in random order, not alphabetical.
Cost: `CORPUS_WORDS` vectors; a band is found by binary search, and sorted by one product of at most 400 vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float32

from neurolocal.words import WORD

CORPUS_WORDS = 100_000
"""Most words of the corpus (the most frequent) that are in a band."""

BAND = (40, 400)
"""Fewest and most words of a band; within these limits, all words whose count is within a factor of 2."""


class FrequencyBands:
    """The words of one corpus by frequency."""

    def __init__(
        self,
        word_counts: Mapping[str, int],
        find: Callable[[str], Float32[np.ndarray, "d"] | None],
        *,
        seed: int,
    ) -> None:
        """Sort the words. `word_counts`: of case-folded words. `find`: the unit vector of a word, or None."""
        self._counts = word_counts
        words = sorted(w for w in word_counts if WORD.fullmatch(w))
        count = np.array([word_counts[w] for w in words], np.int64)
        shuffled = np.random.default_rng(seed).permutation(len(words))
        order = np.lexsort((shuffled, -count))[:CORPUS_WORDS]
        found = [(words[i], count[i], v) for i in order if (v := find(words[i])) is not None]
        self.words = [w for w, _, _ in found]
        """By descending count."""
        self._count = np.array([c for _, c, _ in found], np.int64)
        self._matrix = np.stack([v for _, _, v in found]) if found else np.empty((0, 1), np.float32)
        self._place = {w: i for i, w in enumerate(self.words)}

    def band(self, word: str) -> slice:
        """The places in `words` of the words of similar frequency; a word that is not in the corpus counts as rare."""
        count = max(self._counts.get(word.casefold(), 1), 1)
        low = int(np.searchsorted(-self._count, -2 * count, side="left"))
        high = int(np.searchsorted(-self._count, -count / 2, side="right"))
        centre = self._place.get(word.casefold(), (low + high) // 2)
        fewest, most = BAND
        low = max(min(low, centre - fewest // 2), centre - most // 2, 0)
        high = min(max(high, centre + fewest // 2), centre + most // 2)
        return slice(low, high)

    def by_cosine(self, word: str, vector: Float32[np.ndarray, "d"] | None) -> tuple[list[str], list[float]]:
        """The word's band by descending cosine to its vector; without a vector by frequency, with cosines NaN."""
        band = self.band(word)
        words = self.words[band]
        if vector is None or not words:
            return words, [float("nan")] * len(words)
        cosines = self._matrix[band] @ vector
        order = np.argsort(-cosines, kind="stable")
        return [words[i] for i in order], cosines[order].tolist()
