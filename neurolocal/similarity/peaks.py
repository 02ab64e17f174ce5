"""Words of examples -> peak words: which whole words a neuron fires on, each counted once.

Invariant: words are case-folded, so `The` and `the` are one word; a peak without letters is its own stripped text.
Cost: 2 to 4 us a pair of distinct words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from neurolocal.words.forms import characters
from neurolocal.words.variants import is_variant


class PeakWords(NamedTuple):
    """The words that a neuron's examples peak on."""

    words: tuple[str, ...]
    """Distinct, case-folded, in the order of the strongest example of each; of the spellings of one word the first."""
    repetition: float
    """Share of the examples on the commonest word; NaN without examples."""


def peak_words(texts: Sequence[str]) -> PeakWords:
    """The distinct peak words of one neuron, from the word of each example, strongest first."""
    peaks = distinct([text.casefold() for text in texts])
    return peaks._replace(words=tuple(apart(peaks.words)))


def spelled_words(texts: Sequence[str]) -> list[str]:
    """The distinct peak words as they stand in the text, one spelling each: the commonest, then the strongest."""
    spellings: dict[str, Counter[str]] = {}
    for text in texts:
        spellings.setdefault(text.casefold(), Counter())[text] += 1
    return apart([counts.most_common(1)[0][0] for counts in spellings.values()])


def apart(words: Iterable[str]) -> list[str]:
    """Of words that are spellings of one another the first: `sample` and `samples` are no evidence of a concept.

    Digits count once, and so do symbols: `3` and `7` are as alike as words can be.
    """
    kept: list[str] = []
    for word in words:
        kind = characters(word)
        if not any(kind == characters(other) if kind else is_variant(word, other) for other in kept):
            kept.append(word)
    return kept


def distinct(words: Sequence[str]) -> PeakWords:
    """Each word once, in order, with the share of the commonest."""
    counts = Counter(words)
    return PeakWords(tuple(counts), max(counts.values()) / len(words) if words else float("nan"))
