"""Examples -> peak words: which whole words a neuron fires on, each counted once.

Invariant: words are case-folded, so `The` and `the` are one word; a peak without letters is its own stripped text.
Cost: one `Vocabulary.word_at` an example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from neurolocal.records import Example
from neurolocal.words import Vocabulary


class PeakWords(NamedTuple):
    """The words that a neuron's examples peak on."""

    words: tuple[str, ...]
    """Distinct, case-folded, in the order of the strongest example of each."""
    repetition: float
    """Share of the examples on the commonest word; NaN without examples."""


def peak_words(examples: Sequence[Example], vocabulary: Vocabulary) -> PeakWords:
    """The distinct peak words of one neuron's examples."""
    return distinct([vocabulary.word_at(e.tokens, e.peak).text.casefold() for e in examples])


def spelled_words(examples: Sequence[Example], vocabulary: Vocabulary) -> list[str]:
    """The distinct peak words as they stand in the text, one spelling each: the commonest, then the strongest."""
    spellings: dict[str, Counter[str]] = {}
    for e in examples:
        word = vocabulary.word_at(e.tokens, e.peak).text
        spellings.setdefault(word.casefold(), Counter())[word] += 1
    return [counts.most_common(1)[0][0] for counts in spellings.values()]


def distinct(words: Sequence[str]) -> PeakWords:
    """Each word once, in order, with the share of the commonest."""
    counts = Counter(words)
    return PeakWords(tuple(counts), max(counts.values()) / len(words) if words else float("nan"))
