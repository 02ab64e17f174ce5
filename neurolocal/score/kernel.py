"""How alike are two positions of text? The kernel of a neuron's pattern.

Two positions are alike as far as their tokens are (the same; the same but for capitals and spaces; or near by word
vectors), and more so where the two tokens before, the token after and the mean of the last few words are alike as
well.

Invariant: pure functions of the tokens, the vocabulary and the vectors. Cost: memory for d_vocab x d float32 vectors,
looked up once; the kernel of n and m positions takes a few n x m products of width d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, Integer

from neurolocal.words import Vocabulary

CONTEXT = 5
"""Tokens before a position whose mean vector is its context."""


@runtime_checkable
class VectorLookup(Protocol):
    """The part of `similarity.Vectors` that this room uses."""

    def find(self, word: str) -> Float32[np.ndarray, "d"] | None:
        """The unit vector of a word; None where it has none."""
        ...


@dataclass(frozen=True)
class Positions:
    """Positions with the tokens around them; -1 where there is no token."""

    token: Int64[np.ndarray, "n"]
    """The token at the position."""
    previous: Int64[np.ndarray, "n"]
    """The one before it."""
    second: Int64[np.ndarray, "n"]
    """The one before that."""
    after: Int64[np.ndarray, "n"]
    """The one after the position."""
    context: Float64[np.ndarray, "n d"]
    """Unit mean vector of the `CONTEXT` tokens before it; 0 where none has a vector."""

    def put(self, token: int) -> Positions:
        """The same positions with another token there."""
        return Positions(np.full_like(self.token, token), self.previous, self.second, self.after, self.context)


def joined(parts: Sequence[Positions]) -> Positions:
    """Several sets of positions as one."""
    names = ("token", "previous", "second", "after", "context")
    return Positions(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


class TokenKernel:
    """The spelling and the vector of every token of a vocabulary, and the kernel made from them."""

    def __init__(self, vocabulary: Vocabulary, vectors: VectorLookup) -> None:
        """Look up the vector of every token that has letters."""
        texts = [t.decode("utf-8", "replace").strip() for t in vocabulary.tokens]
        found = [vectors.find(t) if any(c.isalpha() for c in t) else None for t in texts]
        width = next((len(v) for v in found if v is not None), 1)
        self.vector: Float32[np.ndarray, "d_vocab d"] = np.zeros((len(texts), width), np.float32)
        for i, v in enumerate(found):
            if v is not None:
                self.vector[i] = v
        number = {text: i for i, text in enumerate(dict.fromkeys(t.casefold() for t in texts))}
        self.spelling: Int64[np.ndarray, "d_vocab"] = np.array([number[t.casefold()] for t in texts])
        """A number that is the same for tokens that differ only in capitals and spaces."""
        self._vocabulary = vocabulary

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token text -> token id."""
        return {t.decode("utf-8", "replace"): i for i, t in enumerate(self._vocabulary.tokens)}

    def positions(self, tokens: Integer[np.ndarray, "pos"], at: Sequence[int] | None = None) -> Positions:
        """Positions of a row, with the tokens around them; None takes all positions."""
        row = tokens.astype(np.int64)
        chosen = np.arange(len(row)) if at is None else np.asarray(at, dtype=np.int64)
        padded = np.concatenate([[-1, -1], row, [-1]])
        total = np.concatenate([np.zeros((1, self.vector.shape[1])), np.cumsum(self.vector[row], axis=0)])
        context = total[chosen] - total[np.maximum(chosen - CONTEXT, 0)]
        return Positions(padded[chosen + 2], padded[chosen + 1], padded[chosen], padded[chosen + 3], _unit(context))

    def between(self, a: Positions, b: Positions) -> Float32[np.ndarray, "n m"]:
        """The kernel: mainly how alike the tokens are, then how alike the tokens around them are."""
        token, previous, second, after = (
            self.alike(x, y)
            for x, y in ((a.token, b.token), (a.previous, b.previous), (a.second, b.second), (a.after, b.after))
        )
        context = np.maximum(a.context @ b.context.T, 0.0).astype(np.float32)
        around = previous + 0.5 * previous * second + 0.5 * context + 0.5 * after
        return token * (3.0 + around) + 0.2 * (previous + context + after)

    def alike(self, a: Int64[np.ndarray, "n"], b: Int64[np.ndarray, "m"]) -> Float32[np.ndarray, "n m"]:
        """1 for the same token, 0.85 for the same but for capitals and spaces, else 0.7 max(cosine, 0)^2."""
        there = (a >= 0)[:, None] & (b >= 0)[None]
        near = np.maximum(self.vector[a] @ self.vector[b].T, 0.0) ** 2
        near *= np.float32(0.7)
        near[self.spelling[a][:, None] == self.spelling[b][None]] = 0.85
        near[a[:, None] == b[None]] = 1.0
        return near * there


def _unit(rows: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norm > 1e-9, rows / np.maximum(norm, 1e-9), 0.0).astype(np.float64)
