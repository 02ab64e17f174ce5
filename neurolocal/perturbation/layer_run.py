"""The run of a layer: every substitute of every example, some rows at a time, in the fewest passes.

Invariant: the substitutes of `ROWS` rows are run before those of the next rows are looked up, so memory holds the
branches of few rows. Rows whose last peak is at a similar place follow one another, so that passes have little padding.
Substitutes in other contexts, and those without context, are collected and run at the end.
Cost: one pass over the rows that have examples, one over `CONTEXTS` rows for the other contexts, and one over BOS.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer
from tqdm import tqdm

from neurolocal.perturbation.measurements import BranchSubject, Measurements
from neurolocal.perturbation.substitutes import CommonTraits, Substitute, SubstituteFinder
from neurolocal.records import Example
from neurolocal.words import WORD, Word
from neurolocal.words.peaks import peak_words

CONTEXTS = 64
"""Random places of the corpus from which the other contexts of every word are drawn."""

PREFIX = 8
"""Fewest tokens before such a place."""

ROWS = 64
"""Rows whose substitutes are run together."""

RowTokens = Callable[[int], Integer[np.ndarray, "pos"]]
"""Row index in the corpus -> token ids."""


class Context(NamedTuple):
    """A place of the corpus where the word that stands there is replaced by others."""

    row: int
    """Index in the corpus."""
    place: Word
    """The word that stands there."""


def random_contexts(
    subject: BranchSubject, row_tokens: RowTokens, row_index: Int64[np.ndarray, "row"], *, seed: int
) -> list[Context]:
    """Random words of random rows, at most one a row; the same for every neuron."""
    rng, found = np.random.default_rng([seed, len(row_index)]), []
    for index in rng.permutation(row_index)[: 4 * CONTEXTS].tolist():
        row = row_tokens(index)
        if len(row) <= PREFIX:
            continue
        position = int(rng.integers(PREFIX, len(row)))
        word = subject.vocabulary.word_at(row, position)
        if not subject.vocabulary.special[row[position]] and WORD.fullmatch(word.text):
            found.append(Context(index, word))
        if len(found) == CONTEXTS:
            break
    return found


class LayerRun:
    """The run of one layer; used once."""

    def __init__(
        self,
        subject: BranchSubject,
        row_tokens: RowTokens,
        finder: SubstituteFinder,
        layer: int,
        *,
        contexts: Sequence[Context],
    ) -> None:
        """Prepare. `contexts`: the other contexts in which words are run; may be empty."""
        self.subject, self.row_tokens, self.finder, self.layer = subject, row_tokens, finder, layer
        self.contexts = contexts
        self.measured = Measurements()
        self._alone: array[int] = array("i")
        self._elsewhere: dict[int, array[int]] = defaultdict(lambda: array("i"))

    def run(
        self,
        neurons: Mapping[int, Sequence[Example]],
        *,
        lowest: Callable[[Example], bool],
        repeated: Callable[[float, float], None],
        progress: bool,
    ) -> Measurements:
        """Run all substitutes.

        Args:
            neurons: examples by neuron.
            lowest: whether the smallest activation of an example counts, or the largest.
            repeated: called with the stored and the repeated activation of each original.
            progress: whether to show bars.
        """
        traits = self._traits(neurons)
        of_row: dict[int, list[tuple[int, Example]]] = defaultdict(list)
        for neuron, examples in neurons.items():
            for example in examples[: self.finder.config.examples]:
                of_row[example.row].append((neuron, example))
        order = sorted(of_row, key=lambda i: (max(example.position for _, example in of_row[i]), i))
        with tqdm(total=len(order), desc=f"perturbation: layer {self.layer}", unit="row", disable=not progress) as bar:
            for begin in range(0, len(order), ROWS):
                rows, originals = [], []
                for index in order[begin : begin + ROWS]:
                    row = self.row_tokens(index)
                    numbers, own = self._substitutes_of_row(index, row, of_row[index], traits, lowest=lowest)
                    rows.append((numbers, row))
                    originals += own
                self.measured.run(rows, self.subject, self.layer, done=bar.update)
                for stored, number in originals:
                    repeated(stored, self.measured.activation[number])
        self._run_without_context(progress=progress)
        return self.measured

    def _run_without_context(self, *, progress: bool) -> None:
        """Run what was collected: words in other contexts, and alone after BOS."""
        rows = [(self._elsewhere[i], self.row_tokens(i)) for i in sorted(self._elsewhere)]
        with tqdm(total=len(rows), desc="perturbation: other contexts", unit="row", disable=not progress) as bar:
            self.measured.run(rows, self.subject, self.layer, done=bar.update)
        self._elsewhere.clear()
        bos = [] if self.subject.bos is None else [self.subject.bos]
        self.measured.run([(self._alone, np.array(bos, np.int64))], self.subject, self.layer)

    def _traits(self, neurons: Mapping[int, Sequence[Example]]) -> dict[int, CommonTraits]:
        """What each neuron's words have in common; the neighbours of all words are looked up here, in one batch."""
        words = {neuron: peak_words(examples, self.subject.vocabulary) for neuron, examples in neurons.items()}
        self.finder.look_up(w for own in words.values() for w in own[: self.finder.config.examples])
        return dict(zip(words, self.finder.common_traits(list(words.values())), strict=True))

    def _substitutes_of_row(
        self,
        index: int,
        row: Integer[np.ndarray, "pos"],
        examples: Sequence[tuple[int, Example]],
        traits: Mapping[int, CommonTraits],
        *,
        lowest: Callable[[Example], bool],
    ) -> tuple[list[int], list[tuple[float, int]]]:
        """The numbers of a row's substitutes; the stored activation and the number of each original among them."""
        vocabulary = self.subject.vocabulary
        places: dict[int, list[Substitute]] = {}
        numbers: list[int] = []
        originals: list[tuple[float, int]] = []
        for neuron, example in examples:
            if vocabulary.special[row[example.position]]:
                continue
            word = vocabulary.word_at(row, example.position)
            if word.start not in places:
                places[word.start] = self.finder.at_place(row, word, row_index=index)
            own = self.finder.of_neuron(row, word, traits[neuron], row_index=index, rank=example.rank)
            originals.append((example.activation, len(self.measured)))
            for substitute in (*places[word.start], *own):
                numbers.append(
                    self.measured.add(neuron, example, substitute, position=word.start, lowest=lowest(example))
                )
            if self.finder.config.contexts:
                self._add_other_contexts(neuron, example, word, places[word.start][0], lowest=lowest(example))
        return numbers, originals

    def _add_other_contexts(
        self, neuron: int, example: Example, word: Word, original: Substitute, *, lowest: bool
    ) -> None:
        """Add the word alone after BOS, and in some of the other contexts, to be run at the end."""
        start = 0 if self.subject.bos is None else 1
        alone = original._replace(kind="alone")
        self._alone.append(self.measured.add(neuron, example, alone, position=start, lowest=lowest))
        rng = np.random.default_rng([self.finder.config.seed, example.row, example.position, 2])
        wanted = self.finder.config.contexts
        for i in rng.permutation(len(self.contexts)):
            row, place = self.contexts[i]
            if wanted <= 0:
                return
            if row == example.row or place.text.casefold() == word.text.casefold():
                continue
            there = self.finder.elsewhere(place, word.text)
            if there is not None:
                number = self.measured.add(neuron, example, there, position=place.start, lowest=lowest)
                self._elsewhere[row].append(number)
                wanted -= 1
