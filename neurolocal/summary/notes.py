"""More facts about a neuron, for an LLM that answers in its own words: weaker contexts, near misses, promoted tokens,
corpus subsets.

Invariant: no odd rank and no scoring row is read. Cost: the sample of a layer is read once (neurons x sampled
positions float32); a neuron then takes one pass over its row of it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64, Integer

from neurolocal.literals import Side
from neurolocal.records import SILENT, Example, Neuron
from neurolocal.store.band_rows import Band, bands_of
from neurolocal.words import Vocabulary
from neurolocal.words.marked import AFTER, BEFORE, marked

if TYPE_CHECKING:
    from neurolocal.store import Store


class Notes:
    """The notes of one layer's neurons."""

    def __init__(self, store: Store, layer: int) -> None:
        """Read the logit effects of a layer and the explaining part of its sample."""
        self.store, self.layer = store, layer
        self.effects = store.logit_effects(layer)
        self._scoring = frozenset(store.sample.scoring_rows.tolist())
        self._bands: dict[Side, Callable[[int], list[Band]]] = {}
        at = np.flatnonzero(store.sample.explaining)
        self.values = store.sampled(layer)[:, at]
        places = zip(store.sample.row[at].tolist(), store.sample.position[at].tolist(), strict=True)
        self.random = [(store.row(row), position, row) for row, position in places]
        self.token = np.array([int(row[position]) for row, position, _ in self.random], dtype=np.int64)

    def add_to(self, neuron: Neuron, side: Side) -> Neuron:
        """The neuron with its notes."""
        at = self.store.index_of(self.layer, neuron.neuron)
        missed = near_misses(
            neuron.examples, self.store.vocabulary, random=self.random, token=self.token, values=self.values[at]
        )
        return dataclasses.replace(
            neuron, near_misses=missed, weaker=self._weaker(neuron, side), promoted=self._promoted(at, side),
            subsets=self._subsets(neuron.examples),
        )  # fmt: skip

    def _weaker(self, neuron: Neuron, side: Side) -> list[str]:
        """The rows of its bands that explain, without those of the list and of random text that scores."""
        if side not in self._bands:
            self._bands[side] = bands_of(self.store, self.layer, side)
        most = max((e.activation for e in neuron.examples if e.rank % 2 == 0), default=0.0)
        own, made = {e.row for e in neuron.examples}, list[str]()
        for band in self._bands[side](neuron.neuron):
            found = band.explains
            if found is not None and found.row not in own | self._scoring and most > 0:
                text = weaker_text(self.store.row(found.row), found.position, self.store.vocabulary)
                made.append(f"{text} ({round(10 * found.activation / most)} of 10)")
        return made

    def _promoted(self, at: int, side: Side) -> list[str]:
        if self.effects is None:
            return []
        of = self.effects.suppressed if side == "smallest" else self.effects.promoted
        return [text for text in self.store.vocabulary.str_tokens(of[at]) if text]

    def _subsets(self, examples: Sequence[Example]) -> list[tuple[str, int]]:
        """The subsets of the explaining examples, most frequent first."""
        parts = self.store.parts
        if not any(parts.subsets):
            return []
        explain = [e for e in examples if e.rank % 2 == 0]
        rows = np.searchsorted(self.store.row_index, [e.row for e in explain])
        at = parts.at(rows, np.array([e.position for e in explain], dtype=np.int64))
        return Counter(parts.subsets[i] or "no subset" for i in parts.subset[at]).most_common()


def weaker_text(row: Integer[np.ndarray, "_"], position: int, vocabulary: Vocabulary) -> str:
    """The text around a position of a row, the word there marked."""
    first = max(0, position - BEFORE)
    words = vocabulary.row_words(row[first : position + AFTER + 1])
    word = words[position - first]
    return marked(words.tokens, word.start, word.end, 0, len(words), vocabulary)


def near_misses(
    examples: Sequence[Example],
    vocabulary: Vocabulary,
    *,
    random: Sequence[tuple[Integer[np.ndarray, "_"], int, int]],
    token: Int64[np.ndarray, "sample"],
    values: Float32[np.ndarray, "sample"],
    most: int = 5,
) -> list[str]:
    """Texts around a token on which the neuron peaks elsewhere but where it is silent here.

    First from the neuron's own windows, then from random positions.

    Args:
        examples: the neuron's list, all ranks; even ranks are read, rows of odd ranks are excluded.
        vocabulary: the text of the tokens.
        random: (row, position, row index) of random positions in rows that explain.
        token: the token at each of these positions.
        values: the neuron's activation at each of these positions.
        most: largest number of texts.
    """
    explain = [e for e in examples if e.rank % 2 == 0]
    if not explain or not explain[0].activation:
        return []
    scale, kept_out = explain[0].activation, {e.row for e in examples if e.rank % 2 == 1}
    peaks = np.unique([int(e.tokens[e.peak]) for e in explain])
    found = []
    for e in explain:
        silent = np.isin(e.tokens, peaks) & (e.activations / scale < SILENT)
        found += [(e.tokens, i) for i in np.flatnonzero(silent).tolist()]
    for i in np.flatnonzero(np.isin(token, peaks) & (values / scale < SILENT)).tolist():
        row, position, index = random[i]
        if index not in kept_out:
            found.append((row, position))
    made = []
    for tokens, i in found:
        words = vocabulary.row_words(tokens[max(0, i - BEFORE) : i + AFTER + 1])
        at = i - max(0, i - BEFORE)
        word = words[at]
        made.append(marked(words.tokens, word.start, word.end, 0, len(words), vocabulary))
    return list(dict.fromkeys(made))[:most]
