"""Substitutes of a peak word: near words, words at larger distances, random words, and other spellings of it.

Invariant: a substitute's tokens spell exactly its text. The text keeps the original's leading space, the punctuation
inside the same tokens, and (except `form`) its capitals. Neighbours, grades and controls are no spelling variants of
the original and begin with another token. All kinds but `spelled` and `reach` depend on the word, its frame and (seed,
row, position) alone. So neurons that peak at one place share substitutes and their passes, and the order of neurons is
of no effect.
Cost: one product with all vectors for each distinct peak word and each neuron; then one sort of the word's frequency
band (at most 400 words) a place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Integer

from neurolocal.config import PerturbationConfig
from neurolocal.perturbation.frequency_bands import FrequencyBands
from neurolocal.words import WORD, Vocabulary, Word, folded
from neurolocal.words.forms import FormRates, characters, forms
from neurolocal.words.variants import is_variant, like, other_forms

GRADES = (0.03, 0.12, 0.35)
"""Where the grades begin in a word's frequency band, sorted from most to least similar; controls begin at 0.5."""

CANDIDATES = 6
"""Nearest words that are looked up for each neighbour: most of them are spelling variants."""

REACH_CANDIDATES = 120
"""Further nearest words that are looked up for `reach`."""

FORM_LEVEL = 0.05
"""p at or under which the form that a neuron's words share is tested."""


@runtime_checkable
class WordVectors(Protocol):
    """Word vectors, as this room needs them."""

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
        """Positions of the model; None: no limit."""
        ...

    def encode_exactly(self, text: str) -> list[int] | None:
        """Ids that spell exactly the text; None where there are none."""
        ...


class Substitute(NamedTuple):
    """A text in the place of a peak word."""

    kind: str
    """One of `records.KINDS`."""
    text: str
    """With the leading space and punctuation of the original's tokens."""
    tokens: tuple[int, ...]
    """Ids that spell the text."""
    cosine: float
    """Cosine to the original; NaN where one of the two has no vector."""


class CommonTraits(NamedTuple):
    """What a neuron's words have in common."""

    form: str
    """The form that they share, in the notation of `neurolocal.words.forms`; empty: none."""
    words: frozenset[str]
    """The words, case-folded."""
    reach: tuple[str, ...]
    """New words near the mean of their vectors, nearest first."""


class SubstituteFinder:
    """Finds the substitutes of peak words of one corpus."""

    def __init__(
        self, subject: Encoder, vectors: WordVectors, *, word_counts: Mapping[str, int], config: PerturbationConfig
    ) -> None:
        """Prepare. `word_counts`: occurrences of each word of the corpus, as it stands in the text."""
        self.subject, self.vectors, self.config = subject, vectors, config
        self._cased = word_counts
        self._near: dict[str, list[tuple[str, float]]] = {}
        self._tokens: dict[str, tuple[int, ...] | None] = {}
        self._rates = FormRates(word_counts)
        self.bands = FrequencyBands(folded(word_counts), vectors.find, seed=config.seed)
        self._of_form: dict[str, list[str]] | None = None

    def look_up(self, words: Iterable[str]) -> None:
        """Look up the neighbours of many words at once, in place of one by one."""
        new = [w for w in dict.fromkeys(words) if w not in self._near]
        known = [w for w in new if WORD.fullmatch(w) and self.vectors.find(w) is not None]
        self._near.update({w: [] for w in new})
        near = self.vectors.neighbours_of(known, self.config.neighbours * CANDIDATES)
        self._near.update(zip(known, near, strict=True))

    def common_traits(self, neurons: Sequence[Sequence[str]]) -> list[CommonTraits]:
        """For each neuron's peak words, as they stand in the text: the form they share, and new words like them."""
        found, means, with_mean = [], [], []
        wanted = self.config.reach * self.config.examples
        for i, words in enumerate(neurons):
            own = list({w.casefold(): w for w in reversed(words)}.values())
            shared = self._rates.shared(own)
            form = shared.form if shared.p <= FORM_LEVEL else ""
            found.append(CommonTraits(form, frozenset(w.casefold() for w in own), ()))
            vectors = [v for w in own if WORD.fullmatch(w) and (v := self.vectors.find(w)) is not None]
            total = np.sum(vectors, axis=0) if vectors else np.zeros(1, np.float32)
            if wanted and float(np.linalg.norm(total)) > 0:
                means.append((total / np.linalg.norm(total)).astype(np.float32))
                with_mean.append(i)
        near = self.vectors.nearest(np.stack(means), wanted + REACH_CANDIDATES) if means else []
        for i, candidates in zip(with_mean, near, strict=True):
            new = [w for w, _ in candidates if WORD.fullmatch(w) and not self._is_variant_of_any(w, found[i].words)]
            found[i] = found[i]._replace(reach=tuple(new[:wanted]))
        return found

    def _is_variant_of_any(self, word: str, words: frozenset[str]) -> bool:
        return word.casefold() in words or any(is_variant(word, known) for known in words)

    def at_place(self, row: Integer[np.ndarray, "pos"], word: Word, *, row_index: int) -> list[Substitute]:
        """The original and the substitutes for every neuron that peaks there; of a control token only the original.

        Args:
            row: token ids.
            word: the word that is replaced, with its place.
            row_index: the row's index in the corpus, part of the seed of the controls.
        """
        found = [self.original(row, word)]
        if self.subject.vocabulary.special[row[word.start]]:
            return found
        self.look_up([word.text])
        place = _Place(self, row, word, found)
        own = self._vector(word.text)
        near = self._near[word.text]
        place.take("neighbour", near, self.config.neighbours)
        variants = ((w, c) for w, c in near if is_variant(word.text, w) and w.casefold() != word.text.casefold())
        place.take("variant", variants, self.config.variants, variants=True)
        place.taken.update(w.casefold() for w, _ in near)
        band, cosines = self.bands.by_cosine(word.text, own)
        for i, begin in enumerate(GRADES if own is not None else (), start=1):
            graded = range(int(begin * len(band)), len(band))
            place.take(f"grade{i}", ((band[k], cosines[k]) for k in graded), self.config.grades)
        rng = np.random.default_rng([self.config.seed, row_index, word.start])
        # From the less similar half, not by a fixed cosine: random words have 0.1 in some vectors and 0.8 in others.
        first = 0 if own is None else len(band) // 2
        far = first + rng.permutation(len(band) - first)
        place.take("control", ((band[k], cosines[k]) for k in far), self.config.controls)
        place.take_forms(self.config.forms)
        return found

    def of_neuron(
        self, row: Integer[np.ndarray, "pos"], word: Word, traits: CommonTraits, *, row_index: int, rank: int
    ) -> list[Substitute]:
        """The substitutes by one neuron's common traits: `spelled` and `reach`."""
        found = [self.original(row, word)]
        place, own = _Place(self, row, word, found), self._vector(word.text)
        reach = traits.reach[rank * self.config.reach : (rank + 1) * self.config.reach]
        place.take("reach", ((w, _cosine(own, self._vector(w))) for w in reach), self.config.reach)
        place.taken.update(traits.words)
        rng = np.random.default_rng([self.config.seed, row_index, word.start, 1])
        place.take("spelled", self._spelled(traits.form, own, rng), self.config.spelled, other_start=False)
        return found[1:]

    def original(self, row: Integer[np.ndarray, "pos"], word: Word) -> Substitute:
        """The word itself, with the other text of its tokens."""
        before, after = self.frame(row, word)
        tokens = tuple(int(t) for t in row[word.start : word.end])
        return Substitute("original", before + word.text + after, tokens, 1.0)

    def elsewhere(self, place: Word, text: str) -> Substitute | None:
        """The word in another word's place, with that place's space; None where no ids spell it or it does not fit."""
        spaced = (" " if place.spaced else "") + text
        tokens = self.encode(spaced)
        room = None if self.subject.n_ctx is None else self.subject.n_ctx - place.start
        if tokens is None or (room is not None and len(tokens) > room):
            return None
        return Substitute("elsewhere", spaced, tokens, 1.0)

    def frame(self, row: Integer[np.ndarray, "pos"], word: Word) -> tuple[str, str]:
        """The text of the word's own tokens before and after the word."""
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

    def _spelled(
        self, form: str, own: Float32[np.ndarray, "d"] | None, rng: np.random.Generator
    ) -> Iterator[tuple[str, float]]:
        """Random words of a form; for capitals any words, since a substitute gets the original's capitals.

        Of every two drawn, the less similar one comes first, and the other after all of these.
        """
        if self._of_form is None:
            self._of_form = defaultdict(list)
            for word in self._cased:
                for one in forms(word):
                    self._of_form[one].append(word)
        candidates = self.bands.words if form.startswith("capital") else self._of_form.get(form, ())
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
    """One place of a row, and the substitutes found for it."""

    def __init__(
        self, finder: SubstituteFinder, row: Integer[np.ndarray, "pos"], word: Word, found: list[Substitute]
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
        """Add the first suitable candidates. `variants`: spelling variants of the word are suitable too."""
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
        """Add the word itself in other capitals, and with its space added or removed."""
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
        """Whether the first token is the original's: a neuron that fires on that token ignores what the word means."""
        vocabulary = self.finder.subject.vocabulary
        return tokens[0] == self.tokens[0] and any(c.isalpha() for c in vocabulary.text(tokens[:1]))


def _cosine(a: Float32[np.ndarray, "d"] | None, b: Float32[np.ndarray, "d"] | None) -> float:
    return float("nan") if a is None or b is None else float(a @ b)
