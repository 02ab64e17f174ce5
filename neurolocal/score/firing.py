"""Where will a neuron fire? Its pattern says so for unseen text, with no LLM, beside look-up tables.

The pattern is a regression of the activation on the tokens around a position (kernel ridge). Two positions are alike
as far as their tokens are (the same, the same but for capitals and spaces, or near by word vectors), and more so where
the tokens before and after and the mean of the last few words are alike, too. It is fitted to the explain half's
windows, to the substitutes that were put there, and to random positions, where most neurons are silent.

The task and the two look-up tables are those of Neuron2Graph (Foote et al. 2023, "Neuron to Graph"): a neuron fires
where its activation is at least half of its largest; precision, recall and F1 on windows that nothing was fitted to.
Weights were chosen on every fourth tested neuron of SmolLM2's layers 4, 14 and 24 and 600 rows.

Invariant: even ranks alone are looked at. Activations that are strongest where they are lowest are turned round.
Cost: a neuron of 2,000 known positions is fitted in some 0.2 s, and read over 2,560 positions in the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, Integer

from neurolocal.records import FIRING, Example, SubstituteTable
from neurolocal.words import Vocabulary

SAID = 0.3
"""Of the same, predicted: from here on it is said to fire. Lower than `FIRING`, as a regression draws to the middle."""

RIDGE = 0.3
"""Added to the kernel's diagonal."""

CONTEXT = 5
"""Tokens before a position whose mean vector is its context."""

CLIP = (-0.1, 1.2)
"""Activations, as shares of the strongest, beyond which it does not matter how far."""

OUT_OF_PLACE = frozenset({"original", "alone", "elsewhere"})
"""Kinds of substitutes that say nothing new of the example's own context."""


@runtime_checkable
class Words(Protocol):
    """The word vectors, as far as a pattern needs them."""

    def find(self, word: str) -> Float32[np.ndarray, "d"] | None:
        """The unit vector of a word."""
        ...


class Tokens:
    """The tokens of a vocabulary as a pattern sees them: how they are spelt, and what they mean."""

    def __init__(self, vocabulary: Vocabulary, vectors: Words) -> None:
        """Look up every token that has letters, by itself."""
        texts = [t.decode("utf-8", "replace").strip() for t in vocabulary.tokens]
        found = [vectors.find(t) if any(c.isalpha() for c in t) else None for t in texts]
        width = next((len(v) for v in found if v is not None), 1)
        self.vector: Float32[np.ndarray, "d_vocab d"] = np.zeros((len(texts), width), np.float32)
        for i, v in enumerate(found):
            if v is not None:
                self.vector[i] = v
        number = {text: i for i, text in enumerate(dict.fromkeys(t.casefold() for t in texts))}
        self.spelling: Int64[np.ndarray, "d_vocab"] = np.array([number[t.casefold()] for t in texts])
        """The same number for tokens that differ in capitals and spaces alone."""
        self._vocabulary = vocabulary

    @cached_property
    def ids(self) -> dict[str, int]:
        """The token that a text is, where it is one."""
        return {t.decode("utf-8", "replace"): i for i, t in enumerate(self._vocabulary.tokens)}

    def places(self, tokens: Integer[np.ndarray, "pos"], at: Sequence[int] | None = None) -> Places:
        """Positions of a row (None: all of it), with what stands around them."""
        row = tokens.astype(np.int64)
        chosen = np.arange(len(row)) if at is None else np.asarray(at, dtype=np.int64)
        padded = np.concatenate([[-1, -1], row, [-1]])
        total = np.concatenate([np.zeros((1, self.vector.shape[1])), np.cumsum(self.vector[row], axis=0)])
        context = total[chosen] - total[np.maximum(chosen - CONTEXT, 0)]
        return Places(padded[chosen + 2], padded[chosen + 1], padded[chosen], padded[chosen + 3], _unit(context))

    def alike(self, a: Int64[np.ndarray, "n"], b: Int64[np.ndarray, "m"]) -> Float32[np.ndarray, "n m"]:
        """1 for the same token, 0.85 for the same but for capitals and spaces, else 0.7 x cosine^2, at least 0."""
        there = (a >= 0)[:, None] & (b >= 0)[None]
        near = np.maximum(self.vector[a] @ self.vector[b].T, 0.0) ** 2
        near *= np.float32(0.7)
        near[self.spelling[a][:, None] == self.spelling[b][None]] = 0.85
        near[a[:, None] == b[None]] = 1.0
        return near * there

    def kernel(self, a: Places, b: Places) -> Float32[np.ndarray, "n m"]:
        """How alike positions are: mainly by their tokens, then by what stands around them."""
        token, previous, second, after = (
            self.alike(x, y)
            for x, y in ((a.token, b.token), (a.previous, b.previous), (a.second, b.second), (a.after, b.after))
        )
        context = np.maximum(a.context @ b.context.T, 0.0).astype(np.float32)
        around = previous + 0.5 * previous * second + 0.5 * context + 0.5 * after
        return token * (3.0 + around) + 0.2 * (previous + context + after)


@dataclass(frozen=True)
class Places:
    """Positions and what stands around them; -1 where there is no token."""

    token: Int64[np.ndarray, "n"]
    """The token itself."""
    previous: Int64[np.ndarray, "n"]
    """The one before it."""
    second: Int64[np.ndarray, "n"]
    """The one before that."""
    after: Int64[np.ndarray, "n"]
    """The one after it."""
    context: Float64[np.ndarray, "n d"]
    """Unit mean vector of the tokens before it; 0 where none has a vector."""

    def put(self, token: int) -> Places:
        """The same with another token in the place."""
        return Places(np.full_like(self.token, token), self.previous, self.second, self.after, self.context)


def joined(parts: Sequence[Places]) -> Places:
    """Positions in one."""
    names = ("token", "previous", "second", "after", "context")
    return Places(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


@runtime_checkable
class Rule(Protocol):
    """Something that says where a neuron fires."""

    def fires(self, tokens: Integer[np.ndarray, "pos"]) -> Bool[np.ndarray, "pos"]:
        """At which positions of a row."""
        ...


@dataclass(frozen=True)
class Lookup:
    """It fires after exactly those n tokens, the last included, at which it was seen to fire."""

    n: int
    endings: frozenset[tuple[int, ...]]

    def fires(self, tokens: Integer[np.ndarray, "pos"]) -> Bool[np.ndarray, "pos"]:
        """At which positions of a row."""
        row = tokens.tolist()
        return np.array([tuple(row[max(0, i + 1 - self.n) : i + 1]) in self.endings for i in range(len(row))], bool)


@dataclass(frozen=True)
class Pattern:
    """What is known of a neuron's positions, weighed so that it foretells the activation of others."""

    tokens: Tokens
    places: Places
    weights: Float64[np.ndarray, "n"]
    middle: float
    """What is foretold where nothing is alike."""

    def foretold(self, tokens: Integer[np.ndarray, "pos"]) -> Float[np.ndarray, "pos"]:
        """The activation at each position, as a share of the strongest explaining example's."""
        there = self.tokens.places(tokens)
        return self.tokens.kernel(there, self.places) @ self.weights + self.middle

    def fires(self, tokens: Integer[np.ndarray, "pos"]) -> Bool[np.ndarray, "pos"]:
        """At which positions of a row."""
        return self.foretold(tokens) >= SAID


@dataclass(frozen=True)
class Score:
    """Predicted against real firing."""

    right: int
    """Positions where it was said to fire, and does."""
    wrong: int
    """Positions where it was said to fire, and doesn't."""
    missed: int
    """Positions where it fires, and was not said to."""

    def __add__(self, other: Score) -> Score:
        """Of both texts."""
        return Score(self.right + other.right, self.wrong + other.wrong, self.missed + other.missed)

    @property
    def precision(self) -> float:
        """Share of the predicted that fire; 0 where none was predicted."""
        return self.right / max(self.right + self.wrong, 1)

    @property
    def recall(self) -> float:
        """Share of the firing that were predicted; NaN where it never fires."""
        real = self.right + self.missed
        return self.right / real if real else float("nan")

    @property
    def f1(self) -> float:
        """2 right / (predicted + firing); NaN where it never fires."""
        real = self.right + self.missed
        return 2 * self.right / (real + self.right + self.wrong) if real else float("nan")


def scale(examples: Sequence[Example]) -> float:
    """The strongest explaining example's activation, with its sign: the largest, or the lowest of a list of lowest.

    Raises:
        ValueError: no even rank, or it is 0.
    """
    explain = [e for e in examples if e.rank % 2 == 0]
    strongest = explain[0].activation if explain else 0.0
    if not strongest:
        raise ValueError("no explaining example with an activation: nothing to predict")
    return strongest


def lookup(examples: Sequence[Example], n: int) -> Lookup:
    """The look-up table of the even ranks' windows; ValueError where they hold no activation."""
    most, endings = scale(examples), set[tuple[int, ...]]()
    for e in examples:
        if e.rank % 2 == 0:
            row = e.tokens.tolist()
            at = np.flatnonzero(e.activations / most >= FIRING)  # NaN is not
            endings.update(tuple(row[i + 1 - n : i + 1]) for i in at.tolist() if i + 1 >= n)
    return Lookup(n, frozenset(endings))


def pattern(
    examples: Sequence[Example],
    tokens: Tokens,
    *,
    neuron: int,
    substitutes: SubstituteTable | None = None,
    random: tuple[Places, Float32[np.ndarray, "n"]] | None = None,
) -> Pattern:
    """Fit a pattern to the even ranks' windows, the substitutes of these, and random positions with activations.

    Substitutes of several tokens and NaN are passed over.

    Raises:
        ValueError: no even rank with an activation.
    """
    most = scale(examples)
    places, values = [], []
    at_peak: dict[int, Places] = {}
    for e in examples:
        if e.rank % 2 == 0:
            at = np.flatnonzero(~np.isnan(e.activations))
            places.append(tokens.places(e.tokens, at.tolist()))
            values.append(e.activations[at])
            at_peak[e.rank] = tokens.places(e.tokens, [e.peak])
    if substitutes is not None:
        for i in np.flatnonzero((substitutes.neuron == neuron) & (substitutes.rank % 2 == 0)):
            token, rank = tokens.ids.get(substitutes.word[i]), int(substitutes.rank[i])
            if token is not None and rank in at_peak and substitutes.kind[i] not in OUT_OF_PLACE:
                places.append(at_peak[rank].put(token))
                values.append(substitutes.activation[i : i + 1])
    if random is not None:
        places.append(random[0])
        values.append(random[1])
    known = joined(places)
    y = np.clip(np.nan_to_num(np.concatenate(values).astype(np.float64) / most), *CLIP)
    middle = float(np.median(y))
    gram = tokens.kernel(known, known).astype(np.float64)
    weights = np.linalg.solve(gram + RIDGE * np.eye(len(y)), y - middle)
    return Pattern(tokens, known, weights, middle)


def score(rule: Rule, most: float, rows: Iterable[tuple[Integer[np.ndarray, "_"], Float32[np.ndarray, "_"]]]) -> Score:
    """A rule against the activations of rows, (tokens, activations) each; NaN activations are left out."""
    total = Score(0, 0, 0)
    for tokens, activations in rows:
        said, real = rule.fires(tokens) & ~np.isnan(activations), activations / most >= FIRING
        total += Score(int((said & real).sum()), int((said & ~real).sum()), int((~said & real).sum()))
    return total


def _unit(rows: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norm > 1e-9, rows / np.maximum(norm, 1e-9), 0.0).astype(np.float64)
