"""What is put in a peak word's place: near words, ever farther ones, random ones, and other spellings of it.

Invariant: a substitute's tokens spell exactly its text, which keeps the original's leading space, punctuation inside
the same tokens, and (but for `form`) capitals. Near words, grades and controls are no spelling variants and begin with
another token. All but `spelled` and `reach` are a function of the word, its frame and (seed, row, position): so neurons
that peak at one place share their substitutes, a forward pass too, and their order doesn't matter.
Cost: some 10 ms a neuron for the neighbours of its words and of their mean (400,000 vectors); 0.7 ms a place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Integer

from neurolocal.config import PerturbationConfig
from neurolocal.words import WORD, Vocabulary, Word, folded
from neurolocal.words.forms import FormRates, characters, forms
from neurolocal.words.variants import is_variant, like, other_forms

CORPUS_WORDS = 100_000
"""Most frequent words of the corpus from which controls are drawn, at most."""

BAND = (40, 400)
"""Words of a frequency band, at least and at most; between them, all whose count is within a factor of 2."""

GRADES = (0.03, 0.12, 0.35)
"""Where in a word's frequency band, from its most to its least alike word, the grades begin; controls begin at 0.5."""

ROUNDS = 6
"""Candidates asked of the vectors for each neighbour wanted: most nearest words are spelling variants."""

SHARED = 0.05
"""p at or under which the spelling that a neuron's words share is worth a test."""


@runtime_checkable
class NearWords(Protocol):
    """Word vectors, as this stage needs them."""

    def find(self, word: str) -> Float32[np.ndarray, "d"] | None:
        """The unit vector of a word, as it stands or case-folded."""
        ...

    def neighbours_of(self, words: Sequence[str], n: int) -> list[list[tuple[str, float]]]:
        """The n nearest words of each word, with their cosines."""
        ...

    def nearest(self, queries: Float32[np.ndarray, "query d"], n: int) -> list[list[tuple[str, float]]]:
        """The n nearest words of each unit vector, with their cosines."""
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
    """One of `records.KINDS`."""
    text: str
    """Leading space and punctuation of the original's tokens included."""
    tokens: tuple[int, ...]
    """Ids that spell the text."""
    cosine: float
    """To the original's vector; NaN where one of the two has none."""


class Common(NamedTuple):
    """What a neuron's words have in common."""

    form: str
    """The spelling that they share, as `neurolocal.words.forms` names it; empty: none."""
    words: frozenset[str]
    """The words, case-folded."""
    reach: tuple[str, ...]
    """New words that are like all of them, nearest first."""


class Substitutes:
    """Finds the substitutes of peak words of one corpus."""

    def __init__(
        self, subject: Encoder, vectors: NearWords, *, word_counts: Mapping[str, int], config: PerturbationConfig
    ) -> None:
        """Prepare. `word_counts`: how often each word occurs in the corpus, as it stands in the text."""
        self.subject, self.vectors, self.config = subject, vectors, config
        self._cased, self._counts = word_counts, folded(word_counts)
        self._near: dict[str, list[tuple[str, float]]] = {}
        self._tokens: dict[str, tuple[int, ...] | None] = {}
        self._rates = FormRates(word_counts)
        self._prepare_band()
        self._of_form: dict[str, list[str]] | None = None

    def know(self, words: Iterable[str]) -> None:
        """Look up the neighbours of many words at once, in place of one by one."""
        new = [w for w in dict.fromkeys(words) if w not in self._near]
        known = [w for w in new if WORD.fullmatch(w) and self.vectors.find(w) is not None]
        self._near.update({w: [] for w in new})
        self._near.update(zip(known, self.vectors.neighbours_of(known, self.config.neighbours * ROUNDS), strict=True))

    def in_common(self, neurons: Sequence[Sequence[str]]) -> list[Common]:
        """Of each neuron's peak words, as they stand in the text: the spelling they share, and new words like them."""
        found, means, asked = [], [], []
        wanted = self.config.reach * self.config.examples
        for i, words in enumerate(neurons):
            own = list({w.casefold(): w for w in reversed(words)}.values())
            shared = self._rates.shared(own)
            found.append(Common(shared.form if shared.p <= SHARED else "", frozenset(w.casefold() for w in own), ()))
            vectors = [v for w in own if WORD.fullmatch(w) and (v := self.vectors.find(w)) is not None]
            total = np.sum(vectors, axis=0) if vectors else np.zeros(1, np.float32)
            if wanted and float(np.linalg.norm(total)) > 0:
                means.append((total / np.linalg.norm(total)).astype(np.float32))
                asked.append(i)
        near = self.vectors.nearest(np.stack(means), wanted + ROUNDS * 20) if means else []
        for i, candidates in zip(asked, near, strict=True):
            new = [w for w, _ in candidates if WORD.fullmatch(w) and not self._known(w, found[i].words)]
            found[i] = found[i]._replace(reach=tuple(new[:wanted]))
        return found

    def _known(self, word: str, words: frozenset[str]) -> bool:
        return word.casefold() in words or any(is_variant(word, known) for known in words)

    def at(self, row: Integer[np.ndarray, "pos"], word: Word, *, row_index: int) -> list[Substitute]:
        """The original and what every neuron that peaks there is tested with; only the original of a control token.

        Args:
            row: token ids.
            word: where and what is replaced.
            row_index: the row's number in the corpus, part of the controls' seed.
        """
        found = [self.original(row, word)]
        if self.subject.vocabulary.special[row[word.start]]:
            return found
        self.know([word.text])
        place = _Place(self, row, word, found)
        own = self._vector(word.text)
        near = self._near[word.text]
        place.take("neighbour", near, self.config.neighbours)
        variants = ((w, c) for w, c in near if is_variant(word.text, w) and w.casefold() != word.text.casefold())
        place.take("variant", variants, self.config.variants, variants=True)
        place.taken.update(w.casefold() for w, _ in near)
        band, cosines = self._band_by_cosine(word.text, own)
        for i, begin in enumerate(GRADES if own is not None else (), start=1):
            graded = range(int(begin * len(band)), len(band))
            place.take(f"grade{i}", ((band[k], cosines[k]) for k in graded), self.config.grades)
        rng = np.random.default_rng([self.config.seed, row_index, word.start])
        # The less alike half, not a fixed cosine: in some vectors two random words have 0.1 in common, in others 0.8.
        first = 0 if own is None else len(band) // 2
        far = first + rng.permutation(len(band) - first)
        place.take("control", ((band[k], cosines[k]) for k in far), self.config.controls)
        place.take_forms(self.config.forms)
        return found

    def of_neuron(
        self, row: Integer[np.ndarray, "pos"], word: Word, common: Common, *, row_index: int, rank: int
    ) -> list[Substitute]:
        """What one neuron's words have in common, in the place of the word: `spelled` and `reach`."""
        found = [self.original(row, word)]
        place, own = _Place(self, row, word, found), self._vector(word.text)
        reach = common.reach[rank * self.config.reach : (rank + 1) * self.config.reach]
        place.take("reach", ((w, _cosine(own, self._vector(w))) for w in reach), self.config.reach)
        place.taken.update(common.words)
        rng = np.random.default_rng([self.config.seed, row_index, word.start, 1])
        place.take("spelled", self._spelled(common.form, own, rng), self.config.spelled, other_start=False)
        return found[1:]

    def original(self, row: Integer[np.ndarray, "pos"], word: Word) -> Substitute:
        """The word itself, with what its tokens hold around it."""
        before, after = self.frame(row, word)
        tokens = tuple(int(t) for t in row[word.start : word.end])
        return Substitute("original", before + word.text + after, tokens, 1.0)

    def elsewhere(self, place: Word, text: str) -> Substitute | None:
        """The word in another word's place, with that place's space; None where it cannot be spelled."""
        spaced = (" " if place.spaced else "") + text
        tokens = self.encode(spaced)
        room = None if self.subject.n_ctx is None else self.subject.n_ctx - place.start
        if tokens is None or (room is not None and len(tokens) > room):
            return None
        return Substitute("elsewhere", spaced, tokens, 1.0)

    def frame(self, row: Integer[np.ndarray, "pos"], word: Word) -> tuple[str, str]:
        """What the word's own tokens hold before and after it."""
        span = self.subject.vocabulary.text(row[word.start : word.end])
        at = span.find(word.text)
        if at < 0 or "\ufffd" in span:
            return " " if word.spaced else "", ""
        return span[:at], span[at + len(word.text) :]

    def encode(self, text: str) -> tuple[int, ...] | None:
        """Ids that spell the text, or None; each text is encoded once."""
        if text not in self._tokens:
            ids = self.subject.encode_exactly(text)
            self._tokens[text] = tuple(ids) if ids else None
        return self._tokens[text]

    def _vector(self, word: str) -> Float32[np.ndarray, "d"] | None:
        return self.vectors.find(word) if WORD.fullmatch(word) else None

    def _prepare_band(self) -> None:
        """Corpus words with vectors by falling count; equal counts in random order, not by alphabet."""
        words = sorted(w for w in self._counts if WORD.fullmatch(w))
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

    def _band_by_cosine(self, word: str, own: Float32[np.ndarray, "d"] | None) -> tuple[list[str], list[float]]:
        """The word's band, the most alike first; in order of frequency, cosines NaN, where it has no vector."""
        band = self._band(word)
        words = self._words[band]
        if own is None or not words:
            return words, [float("nan")] * len(words)
        cosines = self._matrix[band] @ own
        order = np.argsort(-cosines, kind="stable")
        return [words[i] for i in order], cosines[order].tolist()

    def _spelled(
        self, form: str, own: Float32[np.ndarray, "d"] | None, rng: np.random.Generator
    ) -> Iterator[tuple[str, float]]:
        """Random words of a form; of capitals any word, since a substitute takes the original's capitals.

        Of every two drawn the less alike one comes first.
        """
        if self._of_form is None:
            self._of_form = defaultdict(list)
            for word in self._cased:
                for one in forms(word):
                    self._of_form[one].append(word)
        candidates = self._words if form.startswith("capital") else self._of_form.get(form, ())
        if not candidates:
            return
        left = []
        drawn = [candidates[i] for i in rng.permutation(len(candidates))[: 40 * max(self.config.spelled, 1)]]
        for i in range(0, len(drawn), 2):
            pair = sorted(((w, _cosine(own, self._vector(w))) for w in drawn[i : i + 2]), key=lambda one: one[1])
            yield pair[0]
            left += pair[1:]
        yield from left


class _Place:
    """One place of a row, and what has been found for it."""

    def __init__(
        self, finder: Substitutes, row: Integer[np.ndarray, "pos"], word: Word, found: list[Substitute]
    ) -> None:
        self.finder, self.word, self.found = finder, word, found
        self.before, self.after = finder.frame(row, word)
        n_ctx = finder.subject.n_ctx
        self.room = None if n_ctx is None else n_ctx - word.start
        self.tokens = found[0].tokens
        self.taken = {word.text.casefold()}

    def take(
        self,
        kind: str,
        candidates: Iterable[tuple[str, float]],
        wanted: int,
        *,
        variants: bool = False,
        other_start: bool = True,
    ) -> None:
        """The first candidates that will do; with `variants` spellings of the word will do, too."""
        if wanted <= 0:
            return
        letters = WORD.fullmatch(self.word.text) is not None
        for candidate, cosine in candidates:
            if candidate.casefold() in self.taken or (
                not variants and letters and is_variant(self.word.text, candidate)
            ):
                continue
            if not WORD.fullmatch(candidate) and not (kind == "spelled" and characters(candidate) is not None):
                continue
            text = self.before + (like(candidate, self.word.text) if letters else candidate) + self.after
            tokens = self._spell(text)
            if tokens is None or (other_start and not variants and self._begins_alike(tokens)):
                continue
            self.taken.add(candidate.casefold())
            self.found.append(Substitute(kind, text, tokens, cosine))
            wanted -= 1
            if not wanted:
                return

    def take_forms(self, wanted: int) -> None:
        """The word itself in other capitals, then with or without its space."""
        texts = [self.before + other + self.after for other in other_forms(self.word.text)]
        bare = self.before.removesuffix(" ")
        texts.insert(1, (bare if self.before != bare else self.before + " ") + self.word.text + self.after)
        for text in dict.fromkeys(texts):
            tokens = self._spell(text)
            if wanted > 0 and tokens is not None and tokens != self.tokens:
                self.found.append(Substitute("form", text, tokens, 1.0))
                wanted -= 1

    def _spell(self, text: str) -> tuple[int, ...] | None:
        tokens = self.finder.encode(text)
        return None if tokens is None or (self.room is not None and len(tokens) > self.room) else tokens

    def _begins_alike(self, tokens: tuple[int, ...]) -> bool:
        """Whether the first token is the original's: a neuron that fires there would hold, whatever the word means."""
        vocabulary = self.finder.subject.vocabulary
        return tokens[0] == self.tokens[0] and any(c.isalpha() for c in vocabulary.text(tokens[:1]))


def _cosine(a: Float32[np.ndarray, "d"] | None, b: Float32[np.ndarray, "d"] | None) -> float:
    return float("nan") if a is None or b is None else float(a @ b)
