"""Neurons made by hand, with the vocabulary that their examples need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neurolocal.records import Example, Neuron
from neurolocal.words import Vocabulary


class Corpus:
    """A vocabulary that grows as neurons are made."""

    def __init__(self) -> None:
        self.tokens: list[bytes] = []

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.tokens, np.zeros(len(self.tokens), dtype=bool))

    def ids(self, *texts: str) -> np.ndarray:
        for text in texts:
            if text.encode() not in self.tokens:
                self.tokens.append(text.encode())
        return np.array([self.tokens.index(t.encode()) for t in texts], dtype=np.int64)

    def neuron(self, words: Sequence[str], *, odd: Sequence[str] = (), neuron: int = 0) -> Neuron:
        """A neuron whose even ranks peak on `words`, its odd ranks on `odd`; a word is a token between two others."""
        ranked = [(2 * i, w) for i, w in enumerate(words)] + [(2 * i + 1, w) for i, w in enumerate(odd)]
        return Neuron(neuron, [self.example(rank, "Then", f" {w}", " came") for rank, w in sorted(ranked)])

    def example(self, rank: int, before: str, peak: str, after: str) -> Example:
        height = 10.0 - 0.1 * rank
        shape = np.array([0, height, 0], dtype=np.float32)
        return Example(rank, 100 + rank, 41, height, 40, self.ids(before, peak, after), shape)
