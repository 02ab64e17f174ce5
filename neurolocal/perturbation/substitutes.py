"""What is put in a peak word's place: near neighbours by the vectors, and random controls as frequent as the word.

Invariant: a substitute's tokens spell exactly its text, which keeps the original's leading space, punctuation inside
the same tokens, and capitals; it is no spelling variant and begins with another token. Neighbours are a function of the
word, controls of (seed, row, position): so neurons that peak at one place share their substitutes, a forward pass too,
and their order doesn't matter.
Cost: a blocked matrix product for the neighbours of all words; some 0.2 ms a place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Integer

from neurolocal.config import PerturbationConfig
from neurolocal.perturbation.spelling import is_variant, like
from neurolocal.words import WORD, Vocabulary, Word

CORPUS_WORDS = 100_000
"""Most frequent words of the corpus from which controls are drawn, at most."""

BAND = (40, 400)
"""Words of a frequency band, at least and at most; between them, all whose count is within a factor of 2."""

ROUNDS = 6
"""Candidates asked of the vectors for each neighbour wanted: most nearest words are spelling variants."""


@runtime_checkable
class NearWords(Protocol):
    """Word vectors, as this stage needs them."""

    def find(self, word: str) -> Float32[np.ndarray, "d"] | None:
        """The unit vector of a word, as it stands or case-folded."""
        ...

    def neighbours_of(self, words: Sequence[str], n: int) -> list[list[tuple[str, float]]]:
        """The n nearest words of each word, with their cosines."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """A subject, as this module needs it."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token id."""
        ...

    @property
    def n_ctx(self) -> int | None:
        """Positions that the model has."""
        ...

    def encode_exactly(self, text: str) -> list[int] | None:
        """Ids that spell exactly the text, or None."""
        ...


class Substitute(NamedTuple):
    """A text that stands in a peak word's place."""

    kind: str
    """`original`, `neighbour` or `control`."""
    text: str
    """Leading space and punctuation of the original's tokens included."""
    tokens: tuple[int, ...]
    """Ids that spell the text."""
    cosine: float
    """To the original's vector."""


class Substitutes:
    """Finds the substitutes of peak words of one corpus."""

    def __init__(
        self, subject: Encoder, vectors: NearWords, *, word_counts: Mapping[str, int], config: PerturbationConfig
    ) -> None:
        self.subject, self.vectors, self.config = subject, vectors, config
        self._counts = word_counts
        self._near: dict[str, list[tuple[str, float]]] = {}
        self._tokens: dict[str, tuple[int, ...] | None] = {}
        self._prepare_band()

    def know(self, words: Iterable[str]) -> None:
        """Look up the neighbours of many words at once, in place of one by one."""
        new = [w for w in dict.fromkeys(words) if w not in self._near]
        known = [w for w in new if WORD.fullmatch(w) and self.vectors.find(w) is not None]
        self._near.update({w: [] for w in new})
        self._near.update(zip(known, self.vectors.neighbours_of(known, self.config.neighbours * ROUNDS), strict=True))

    def at(self, row: Integer[np.ndarray, "pos"], word: Word, *, row_index: int) -> list[Substitute]:
        """The original, its neighbours and its controls at a word of a row; empty where the word has no vector.

        Args:
            row: token ids.
            word: where and what is replaced.
            row_index: the row's number in the corpus, part of the controls' seed.
        """
        own = self.vectors.find(word.text) if WORD.fullmatch(word.text) else None
        if own is None:
            return []
        self.know([word.text])
        before, after = self._frame(row, word)
        room = None if self.subject.n_ctx is None else self.subject.n_ctx - word.start
        tokens = tuple(int(t) for t in row[word.start : word.end])
        taken = {word.text.casefold()}
        found = [Substitute("original", before + word.text + after, tokens, 1.0)]

        def take(kind: str, candidates: Iterable[tuple[str, float]], wanted: int) -> None:
            for candidate, cosine in candidates:
                if wanted <= 0:
                    return
                if candidate.casefold() in taken or not WORD.fullmatch(candidate) or is_variant(word.text, candidate):
                    continue
                text = before + like(candidate, word.text) + after
                ids = self._encode(text)
                if ids is None or (room is not None and len(ids) > room) or self._begins_alike(ids, tokens):
                    continue
                taken.add(candidate.casefold())
                found.append(Substitute(kind, text, ids, cosine))
                wanted -= 1

        near = self._near[word.text]
        take("neighbour", near, self.config.neighbours)
        taken.update(w.casefold() for w, _ in near)
        rng = np.random.default_rng([self.config.seed, row_index, word.start])
        take("control", self._random(word.text, own, rng), self.config.controls)
        return found

    def _begins_alike(self, ids: tuple[int, ...], tokens: tuple[int, ...]) -> bool:
        """Whether the first token is the original's: a neuron that fires there would hold, whatever the word means."""
        return ids[0] == tokens[0] and any(c.isalpha() for c in self.subject.vocabulary.text(ids[:1]))

    def _frame(self, row: Integer[np.ndarray, "pos"], word: Word) -> tuple[str, str]:
        """What the word's own tokens hold before and after it."""
        span = self.subject.vocabulary.text(row[word.start : word.end])
        at = span.find(word.text)
        if at < 0 or "\ufffd" in span:
            return " " if word.spaced else "", ""
        return span[:at], span[at + len(word.text) :]

    def _encode(self, text: str) -> tuple[int, ...] | None:
        if text not in self._tokens:
            ids = self.subject.encode_exactly(text)
            self._tokens[text] = tuple(ids) if ids else None
        return self._tokens[text]

    def _prepare_band(self) -> None:
        """Corpus words with vectors by falling count; equal counts in random order, not by alphabet."""
        words = sorted(self._counts)
        count = np.array([self._counts[w] for w in words], np.int64)
        shuffled = np.random.default_rng(self.config.seed).permutation(len(words))
        order = np.lexsort((shuffled, -count))[:CORPUS_WORDS]
        found = [(words[i], count[i], v) for i in order if (v := self.vectors.find(words[i])) is not None]
        self._words = [w for w, _, _ in found]
        self._count = np.array([c for _, c, _ in found], np.int64)
        self._matrix = np.stack([v for _, _, v in found]) if found else np.empty((0, 1), np.float32)
        self._place = {w: i for i, w in enumerate(self._words)}

    def _band(self, word: str) -> slice:
        """Words about as frequent: counts within a factor of 2, and no fewer or more words than `BAND`."""
        count = max(self._counts.get(word.casefold(), 1), 1)
        low = int(np.searchsorted(-self._count, -2 * count, side="left"))
        high = int(np.searchsorted(-self._count, -count / 2, side="right"))
        centre = self._place.get(word.casefold(), (low + high) // 2)
        least, most = BAND
        low = max(min(low, centre - least // 2), centre - most // 2, 0)
        high = min(max(high, centre + least // 2), centre + most // 2)
        return slice(low, high)

    def _random(
        self, word: str, own: Float32[np.ndarray, "d"], rng: np.random.Generator
    ) -> Iterator[tuple[str, float]]:
        """The half of the band that is less like the word, in random order, with cosines.

        Half, not a fixed cosine: in some vectors two random words have 0.1 in common, in others 0.8.
        """
        band = self._band(word)
        cosines = self._matrix[band] @ own if len(self._words) else np.empty(0, np.float32)
        far = np.flatnonzero(cosines <= np.median(cosines)) if len(cosines) else np.empty(0, np.int64)
        for i in rng.permutation(far):
            yield self._words[band.start + i], float(cosines[i])
