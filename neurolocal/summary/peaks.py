"""The words that a neuron's explaining examples peak on, counted.

Invariant: even ranks explain and odd ranks score (law 5), so odd ranks are dropped here, before a description is made.
Cost: one word lookup an example.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from neurolocal.records import Neuron
from neurolocal.words import Vocabulary
from neurolocal.words.peaks import count_spellings

MAX_CHARS = 40
"""Characters of a word that are shown or put into a prompt; a token may be a hundred dashes."""


@dataclass(frozen=True)
class PeakWords:
    """The peaks of a neuron's explaining examples, counted."""

    n: int
    """Number of explaining examples."""
    words: Counter[str]
    """Whole words around the peaks, case-folded, each shown in its commonest spelling."""
    str_tokens: Counter[str]
    """The peak tokens, with their spaces."""
    held: list[str]
    """Substitutes that kept the whole activation, the most frequent first; none of them is among `words`."""

    @property
    def distinct(self) -> list[str]:
        """Distinct words, commonest first; ties in rank order of the examples."""
        return [word for word, _ in self.words.most_common()]


def find_peaks(neuron: Neuron, vocabulary: Vocabulary) -> PeakWords:
    """Count the peak words of the even ranks."""
    explain = [e for e in neuron.examples if e.rank % 2 == 0]
    spellings = [_shown(vocabulary.word_at(e.tokens, e.peak).text) for e in explain]
    str_tokens = [vocabulary.str_tokens([int(e.tokens[e.peak])])[0] for e in explain]
    words = count_spellings(spellings)
    known = {word.casefold() for word in words}
    held = [w for w in _held(neuron) if w.casefold() not in known]
    return PeakWords(len(explain), words, Counter(str_tokens), [w for w, _ in count_spellings(held).most_common()])


def _held(neuron: Neuron) -> list[str]:
    """Neighbours in even ranks whose activation was at least that of the original word, measured the same way."""
    table = neuron.substitutes
    if table is None:
        return []
    mine = [i for i in range(len(table.kind)) if table.neuron[i] == neuron.neuron and table.rank[i] % 2 == 0]
    original = {int(table.rank[i]): float(table.activation[i]) for i in mine if table.kind[i] == "original"}
    return [
        _shown(table.word[i].strip())
        for i in mine
        if table.kind[i] == "neighbour" and table.activation[i] >= original.get(int(table.rank[i]), float("inf"))
    ]


def _shown(word: str) -> str:
    return word if len(word) <= MAX_CHARS else word[:MAX_CHARS] + "…"
