"""Names of groups, and which of them are nearest to a set of words.

A small LLM seldom finds the name of a category by itself, but recognises it among candidates. So word vectors propose
names from a fixed list (`categories.txt`), and the LLM chooses. Invariant: names and their order depend on the list
and the vectors alone. Cost: one product of the names' vectors (names x d float32) with the words' vectors a neuron.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

FREQUENT = 20_000
"""Most frequent words whose mean vector is subtracted: all vectors share it, so it would make all names alike."""

SKIPPED = frozenset({"of", "and", "a"})
"""Words of a name that carry no meaning of their own."""


@runtime_checkable
class WordVectors(Protocol):
    """The part of `similarity.Vectors` that this room uses."""

    matrix: Any
    """Float32[n d], unit rows, most frequent words first."""

    def find(self, word: str) -> Float32[np.ndarray, "d"] | None:
        """The unit vector of a word; None where it has none."""
        ...


class Categories:
    """The names of which a word has a vector, as centred unit vectors."""

    def __init__(self, vectors: WordVectors) -> None:
        self._vectors = vectors
        self._mean = np.asarray(vectors.matrix[:FREQUENT], dtype=np.float32).mean(axis=0)
        known = [(name, v) for name in names() if (v := self._centre(name.split())) is not None]
        self._names = [name for name, _ in known]
        self._matrix = np.stack([v for _, v in known]) if known else np.zeros((0, len(self._mean)), np.float32)

    def nearest(self, words: Sequence[str], n: int) -> list[str]:
        """The n names with the largest mean cosine to the words, nearest first; empty where no word has a vector."""
        units = [v for w in words if (v := self._centre([w])) is not None]
        if not units or not self._names:
            return []
        cosines = (self._matrix @ np.stack(units).T).mean(axis=1)
        return [self._names[i] for i in np.argsort(-cosines, kind="stable")[:n]]

    def _centre(self, words: Sequence[str]) -> Float32[np.ndarray, "d"] | None:
        found = [v for w in words if w not in SKIPPED and (v := self._vectors.find(w.casefold())) is not None]
        if not found:
            return None
        centred = np.mean(found, axis=0) - self._mean
        norm = float(np.linalg.norm(centred))
        return (centred / norm).astype(np.float32) if norm > 1e-6 else None


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """The names in the order of the file, without duplicates."""
    text = files("neurolocal.summary").joinpath("categories.txt").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return tuple(dict.fromkeys(name.strip() for line in lines for name in line.split(",") if name.strip()))
