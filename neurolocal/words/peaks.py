"""Peak words: the whole word around each example's peak token, counted and reduced to distinct words.

Invariant: a list of words has one entry an example, strongest first; a peak without letters is its own stripped text.
Cost: `word_at` once an example; `without_variants` compares pairs of distinct words, O(n^2) of at most k words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from neurolocal.records import Example
from neurolocal.words.forms import characters
from neurolocal.words.variants import is_variant
from neurolocal.words.vocabulary import Vocabulary


class DistinctWords(NamedTuple):
    """The distinct words of one neuron's examples."""

    words: tuple[str, ...]
    """In the order of the strongest example of each."""
    repetition: float
    """Share of the examples on the commonest word; NaN without examples."""


def peak_words(examples: Iterable[Example], vocabulary: Vocabulary) -> list[str]:
    """The peak word of each example, as it stands in the text."""
    return [vocabulary.word_at(e.tokens, e.peak).text for e in examples]


def distinct(words: Sequence[str]) -> DistinctWords:
    """Each word once, in order, with the share of the commonest."""
    counts = Counter(words)
    return DistinctWords(tuple(counts), max(counts.values()) / len(words) if words else float("nan"))


def distinct_words(words: Sequence[str]) -> DistinctWords:
    """Each case-folded word once, without spelling variants; `repetition` counts before variants are left out."""
    found = distinct([word.casefold() for word in words])
    return found._replace(words=tuple(without_variants(found.words)))


def distinct_spellings(words: Sequence[str]) -> list[str]:
    """The distinct words as they stand in the text, each in its commonest spelling, without spelling variants."""
    return without_variants(count_spellings(words))


def count_spellings(words: Iterable[str]) -> Counter[str]:
    """Count words regardless of case, each under its commonest spelling (ties: the first seen), in order."""
    spellings: dict[str, Counter[str]] = {}
    for word in words:
        spellings.setdefault(word.casefold(), Counter())[word] += 1
    return Counter({counts.most_common(1)[0][0]: counts.total() for counts in spellings.values()})


def without_variants(words: Iterable[str]) -> list[str]:
    """Of words that are spelling variants of one another the first: `samples` beside `sample` supports no concept.

    Digits count as one word, and so do symbols: `3` and `7` have no difference in meaning that matters here.
    """
    kept: list[str] = []
    for word in words:
        kind = characters(word)
        if not any(kind == characters(other) if kind else is_variant(word, other) for other in kept):
            kept.append(word)
    return kept
