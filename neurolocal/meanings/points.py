"""What is clustered of a neuron: the distinct content words of its examples, with their vectors and contexts.

Function words, symbols and digits are left out: they are no meaning of their own, and every neuron has some. Spelling
variants count as the word that comes first. Invariant: a pure function of the examples and the vectors. Cost: a word
and a window an example, O(n^2) comparisons of spellings for n distinct words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from neurolocal.records import Example
from neurolocal.similarity.phrases import Embed, window_words
from neurolocal.similarity.vectors import Vectors
from neurolocal.words import Vocabulary
from neurolocal.words.classes import GRAMMAR
from neurolocal.words.forms import characters
from neurolocal.words.peaks import count_spellings, without_variants
from neurolocal.words.variants import is_variant


class Points(NamedTuple):
    """The words of one neuron's examples."""

    spelled: list[str]
    """The peak word of each example, as it stands in the text."""
    words: list[str]
    """The distinct words that are clustered, case-folded, in the order of their strongest examples."""
    unit: Float32[np.ndarray, "word d"]
    """Their unit vectors."""
    of_example: Int64[np.ndarray, "example"]
    """The word of each example; -1 where it is not clustered."""
    contexts: Float32[np.ndarray, "example d"]
    """Unit vector of the words around each example's peak; zeros where there is none."""

    @property
    def counts(self) -> Int64[np.ndarray, "word"]:
        """Examples on each word."""
        return np.bincount(self.of_example[self.of_example >= 0], minlength=len(self.words))

    def among(self, examples: Int64[np.ndarray, "_"]) -> list[str]:
        """The distinct words of some examples as they stand in the text, commonest first."""
        return [word for word, _ in count_spellings(self.spelled[i] for i in examples).most_common()]


def points_of(examples: Sequence[Example], vocabulary: Vocabulary, vectors: Vectors, embed: Embed) -> Points:
    """The words of a neuron's examples. `embed`: of windows, as `similarity.phrases.mean_vectors` gives it."""
    found = [vocabulary.word_at(e.tokens, e.peak) for e in examples]
    spelled = [word.text for word in found]
    words, unit, of_example = content_words(spelled, vectors)
    windows = [window_words(e.tokens, word, vocabulary) for e, word in zip(examples, found, strict=True)]
    return Points(spelled, words, unit, of_example, embed(windows))


def content_words(
    spelled: Sequence[str], vectors: Vectors
) -> tuple[list[str], Float32[np.ndarray, "word d"], Int64[np.ndarray, "example"]]:
    """The distinct content words that have a vector, their vectors, and the index of each example's word or -1."""
    folded = [word.casefold() for word in spelled]
    content = [w for w in dict.fromkeys(folded) if w not in GRAMMAR["function words"] and not characters(w)]
    known = {w: v for w in without_variants(content) if (v := vectors.find(w)) is not None}
    words = list(known)
    index = {w: _of(w, words) for w in content}
    unit = np.stack([known[w] for w in words]) if words else np.empty((0, vectors.matrix.shape[1]), np.float32)
    return words, unit, np.array([index.get(w, -1) for w in folded], np.int64)


def _of(word: str, words: Sequence[str]) -> int:
    """The word itself, or the first of which it is a variant; -1 for none."""
    if word in words:
        return words.index(word)
    return next((i for i, other in enumerate(words) if is_variant(word, other)), -1)
