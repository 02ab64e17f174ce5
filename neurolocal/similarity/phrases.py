"""Do a neuron's contexts belong together? Coherence of whole windows, beside that of single words.

A window is `REACH` words before and after the peak word, without the peak word, which coherence measures already. Its
vector is the mean of its words' vectors with weights a / (a + share of the running words) (SIF, Arora et al., 2017).
With Doc2Vec (Le and Mikolov, 2014) it is inferred from the window with its peak word. A neuron's score is the mean
cosine over pairs of its windows. Null: as many windows around random positions of the stored rows.
Invariant: the same examples, rows and seed give the same figures; a window without known words has no vector and does
not count. Cost: O(words of the window) an example; one null, O(draws x windows), for each number of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Integer

from neurolocal.progress import Bar
from neurolocal.records import Example
from neurolocal.similarity.coherence import coherence
from neurolocal.similarity.vectors import Vectors
from neurolocal.words import WORD, Vocabulary, Word

REACH = 5
"""Words of a window on each side of the peak word."""

TOKENS = 24
"""Tokens searched on each side for these words."""

SIF = 1e-3
"""a of the SIF weight: a word with this share of the running words has weight 1/2."""

WINDOWS = 20_000
"""Most random windows from which the sets of the null are drawn."""

Embed = Callable[[Sequence[Sequence[str]]], Float32[np.ndarray, "window d"]]
"""Windows as lists of case-folded words -> unit vectors, zeros where there is none."""


class PhraseResult(NamedTuple):
    """One entry a neuron; NaN where it has fewer than two windows with a vector."""

    score: Float64[np.ndarray, "n"]
    """Mean cosine over distinct pairs of windows."""
    z: Float64[np.ndarray, "n"]
    """(score - mean of random sets) / their standard deviation."""
    p: Float64[np.ndarray, "n"]
    """(1 + random sets that reach the score) / (draws + 1)."""


def window_words(
    tokens: Integer[np.ndarray, "pos"], word: Word, vocabulary: Vocabulary, *, peak: bool = False
) -> list[str]:
    """The case-folded words around a word; with `peak`, that word between them."""
    before = vocabulary.text(_plain(tokens[max(word.start - TOKENS, 0) : word.start], vocabulary))
    after = vocabulary.text(_plain(tokens[word.end : word.end + TOKENS], vocabulary))
    found = WORD.findall(before)[-REACH:] + [word.text] * peak + WORD.findall(after)[:REACH]
    return [w.casefold() for w in found]


def _plain(tokens: Integer[np.ndarray, "_"], vocabulary: Vocabulary) -> Integer[np.ndarray, "_"]:
    return tokens[~vocabulary.special[tokens]]


def random_windows(
    rows: Iterable[Integer[np.ndarray, "pos"]], vocabulary: Vocabulary, *, seed: int, peak: bool = False
) -> list[list[str]]:
    """Windows around random positions, the same number from every row, at most `WINDOWS` in all."""
    held = [row for row in rows if len(row) > 1]
    if not held:
        return []
    rng = np.random.default_rng([seed, len(held)])
    chosen = rng.permutation(len(held))[:WINDOWS]
    each = max(1, min(WINDOWS // len(chosen), 8))
    return [
        window_words(held[i], vocabulary.word_at(held[i], int(position)), vocabulary, peak=peak)
        for i in chosen
        for position in rng.integers(1, len(held[i]), each)
        if not vocabulary.special[held[i][position]]
    ]


def mean_vectors(vectors: Vectors, word_counts: Mapping[str, int]) -> Embed:
    """The SIF-weighted mean of the words' vectors. `word_counts`: of case-folded words."""
    total = max(sum(word_counts.values()), 1)
    vector_of: dict[str, Float32[np.ndarray, "d"] | None] = {}
    zero = np.zeros(vectors.matrix.shape[1], np.float32)

    def weighted(word: str) -> Float32[np.ndarray, "d"] | None:
        if word not in vector_of:
            vector = vectors.find(word)
            vector_of[word] = (
                None if vector is None else vector * np.float32(SIF / (SIF + word_counts.get(word, 0) / total))
            )
        return vector_of[word]

    def embed(windows: Sequence[Sequence[str]]) -> Float32[np.ndarray, "window d"]:
        sums = [
            np.sum(own, axis=0) if (own := [v for w in words if (v := weighted(w)) is not None]) else zero
            for words in windows
        ]
        return _unit(np.stack(sums)) if sums else np.empty((0, len(zero)), np.float32)

    return embed


def _unit(vectors: Float32[np.ndarray, "window d"]) -> Float32[np.ndarray, "window d"]:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(norm > 1e-9, vectors / np.maximum(norm, 1e-9), 0.0).astype(np.float32)


def phrase_scores(
    examples: Sequence[Sequence[Example]],
    words: Sequence[Sequence[Word]],
    rows: Iterable[Integer[np.ndarray, "pos"]],
    vocabulary: Vocabulary,
    embed: Embed,
    *,
    draws: int,
    seed: int,
    peak: bool = False,
    progress: bool = False,
) -> PhraseResult:
    """Each neuron's score against random windows. `words`: the peak word of every example."""
    pool = embed(random_windows(rows, vocabulary, seed=seed, peak=peak))
    pool = pool[pool.any(axis=1)]
    null = _Null(pool, draws=draws, seed=seed)
    figures = np.full((len(examples), 3), np.nan)
    pairs = zip(examples, words, strict=True)
    bar = Bar(pairs, desc="similarity: phrases", unit="neuron", total=len(examples), disable=not progress)
    for i, (one, own) in enumerate(bar):
        unit = embed([window_words(e.tokens, w, vocabulary, peak=peak) for e, w in zip(one, own, strict=True)])
        unit = unit[unit.any(axis=1)]
        if 2 <= len(unit) <= len(pool):
            score = coherence(unit)
            drawn = null.scores(len(unit))
            spread = float(drawn.std())
            figures[i] = (
                score,
                (score - drawn.mean()) / spread if spread > 1e-6 else np.nan,
                (1 + int((drawn >= score - 1e-6).sum())) / (draws + 1),
            )
    return PhraseResult(*figures.T)


class _Null:
    """The scores of random sets of windows, by size; each size is drawn once."""

    def __init__(self, pool: Float32[np.ndarray, "window d"], *, draws: int, seed: int) -> None:
        self.pool, self.draws, self.seed = pool, draws, seed
        self._scores: dict[int, Float64[np.ndarray, "draw"]] = {}

    def scores(self, n: int) -> Float64[np.ndarray, "draw"]:
        """Coherence of `draws` sets of n windows."""
        if n not in self._scores:
            rng = np.random.default_rng([self.seed, n])
            sums = np.zeros((self.draws, self.pool.shape[1]))
            chosen = np.array([rng.choice(len(self.pool), n, replace=False) for _ in range(self.draws)])
            for column in chosen.T:
                sums += self.pool[column]
            self._scores[n] = (np.einsum("ij,ij->i", sums, sums) - n) / (n * (n - 1))
        return self._scores[n]
