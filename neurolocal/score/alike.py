"""How like is a text to the texts that explain a neuron? By the mean vectors of `similarity/phrases.py`.

Invariant: depends on the texts, the vectors and the corpus's word counts alone. Cost: the vector of a text of a random
row once for all neurons of all layers; one product of width d a text and neuron.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32, Integer

from neurolocal.records import Example
from neurolocal.similarity.phrases import Embed
from neurolocal.words import WORD, Vocabulary

Tokens = Integer[np.ndarray, "_"]


class Likeness:
    """Compares texts of random rows with the explaining examples of neurons."""

    def __init__(self, embed: Embed, vocabulary: Vocabulary) -> None:
        """`embed`: lists of case-folded words -> unit vectors, zeros where there is none."""
        self._embed, self._vocabulary = embed, vocabulary
        self._vectors: dict[tuple[int, int], Float32[np.ndarray, "d"]] = {}

    def to(self, examples: Sequence[Example]) -> Callable[[int, int, Tokens], float]:
        """(row, start, tokens) of a text -> its cosine to the even ranks of these examples, together; 0 if unknown."""
        mean = self._of([token for e in examples if e.rank % 2 == 0 for token in e.tokens.tolist()])

        def likeness(row: int, start: int, tokens: Tokens) -> float:
            if (row, start) not in self._vectors:
                self._vectors[row, start] = self._of(tokens.tolist())
            return float(self._vectors[row, start] @ mean)

        return likeness

    def _of(self, tokens: Sequence[int]) -> Float32[np.ndarray, "d"]:
        words = WORD.findall(self._vocabulary.text(t for t in tokens if not self._vocabulary.special[t]))
        return self._embed([[word.casefold() for word in words]])[0]
