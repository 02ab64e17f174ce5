"""The run of a layer: every substitute of every example, some rows at a time, in the fewest passes.

A part is a batch of `ROWS` rows, `CONTEXT_ROWS` rows of other contexts, or all words alone. Parts are of rows and not
of neurons, since many neurons peak in the same rows, and a row's tokens are to be run once.
Invariant: what a part gives does not depend on other parts, which share no pass with it. Rows whose last peak is at a
similar place follow one another, so that passes have little padding. Memory holds the branches of one part.
Cost: one pass over the rows that have examples, one over `CONTEXTS` rows for the other contexts, and one over BOS. A
process that does any batch looks up the near words of all the layer's words; one that does other contexts, all words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

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
"""Rows of a batch, whose substitutes are run together."""

CONTEXT_ROWS = 16
"""Rows of other contexts that are run together."""

FIRST_BATCH = 1 + CONTEXTS // CONTEXT_ROWS
"""The part that is the first batch of rows: 0 is the words alone, those between are the other contexts."""

ALONE = 1 << 30
"""Order of the word alone among an example's substitutes: behind those within its context, before other contexts."""

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


def parts(n_rows: int, *, contexts: bool) -> list[int]:
    """The parts of a layer: the words alone, the other contexts, and the batches of its rows.

    Args:
        n_rows: rows that have a tested example.
        contexts: whether words are run without their context at all.
    """
    batches = range(FIRST_BATCH, FIRST_BATCH + -(-n_rows // ROWS))
    return [*(range(FIRST_BATCH) if contexts and n_rows else ()), *batches]


class LayerRun:
    """The substitutes of one layer's neurons, in parts that do not depend on each other."""

    def __init__(
        self,
        subject: BranchSubject,
        row_tokens: RowTokens,
        finder: SubstituteFinder,
        layer: int,
        neurons: Mapping[int, Sequence[Example]],
        *,
        contexts: Sequence[Context],
        lowest: Callable[[Example], bool],
    ) -> None:
        """Prepare.

        Args:
            subject: runs branches.
            row_tokens: the rows.
            finder: finds substitutes.
            layer: of the neurons.
            neurons: examples by neuron.
            contexts: the other contexts in which words are run; may be empty.
            lowest: whether the smallest activation of an example counts, or the largest.
        """
        self.subject, self.row_tokens, self.finder, self.layer = subject, row_tokens, finder, layer
        self.neurons, self.contexts, self.lowest = neurons, contexts, lowest
        self.of_row: dict[int, list[tuple[int, Example]]] = defaultdict(list)
        for neuron, examples in neurons.items():
            for example in examples[: finder.config.examples]:
                self.of_row[example.row].append((neuron, example))
        self.order = sorted(self.of_row, key=lambda i: (max(example.position for _, example in self.of_row[i]), i))

    @property
    def parts(self) -> list[int]:
        """The numbers of the parts."""
        return parts(len(self.order), contexts=self.finder.config.contexts > 0)

    def part(self, number: int) -> Measurements:
        """Run one part."""
        if number >= FIRST_BATCH:
            return self._batch(number - FIRST_BATCH)
        return self._without_context(number - 1) if number else self._alone()

    def _batch(self, number: int) -> Measurements:
        """The substitutes within their contexts, of some rows."""
        measured, rows = Measurements(), []
        for index in self.order[number * ROWS : (number + 1) * ROWS]:
            row = self.row_tokens(index)
            rows.append((self._substitutes_of_row(measured, index, row), row))
        measured.run(rows, self.subject, self.layer)
        return measured

    def _substitutes_of_row(self, measured: Measurements, index: int, row: Integer[np.ndarray, "pos"]) -> list[int]:
        """Add a row's substitutes; gives their numbers."""
        places: dict[int, list[Substitute]] = {}
        numbers: list[int] = []
        for neuron, example in self.of_row[index]:
            word = self._word(row, example)
            if word is None:
                continue
            if word.start not in places:
                places[word.start] = self.finder.at_place(row, word, row_index=index)
            own = self.finder.of_neuron(row, word, self._traits[neuron], row_index=index, rank=example.rank)
            for order, substitute in enumerate((*places[word.start], *own)):
                numbers.append(
                    measured.add(
                        neuron, example, substitute, order=order, position=word.start, lowest=self.lowest(example)
                    )
                )
        return numbers

    def _alone(self) -> Measurements:
        """Every word alone after BOS, in place of its whole row."""
        bos = [] if self.subject.bos is None else [self.subject.bos]
        measured = Measurements()
        for neuron, example, _, original in self._words:
            measured.add(
                neuron, example, original._replace(kind="alone"), order=ALONE, position=len(bos),
                lowest=self.lowest(example),
            )  # fmt: skip
        measured.run([(range(len(measured)), np.array(bos, np.int64))], self.subject, self.layer)
        return measured

    def _without_context(self, number: int) -> Measurements:
        """Words in the rows of some other contexts."""
        chosen = sorted({context.row for context in self.contexts})[number * CONTEXT_ROWS : (number + 1) * CONTEXT_ROWS]
        measured, numbers = Measurements(), {row: list[int]() for row in chosen}
        for row in chosen:
            for neuron, example, there, order, position in self._elsewhere.get(row, ()):
                numbers[row].append(
                    measured.add(neuron, example, there, order=order, position=position, lowest=self.lowest(example))
                )
        rows = [(some, self.row_tokens(row)) for row, some in numbers.items() if some]
        measured.run(rows, self.subject, self.layer)
        return measured

    @cached_property
    def _traits(self) -> dict[int, CommonTraits]:
        """What each neuron's words have in common; the neighbours of all words are looked up here, in one batch."""
        words = {neuron: peak_words(examples, self.subject.vocabulary) for neuron, examples in self.neurons.items()}
        self.finder.look_up(w for own in words.values() for w in own[: self.finder.config.examples])
        return dict(zip(words, self.finder.common_traits(list(words.values())), strict=True))

    @cached_property
    def _words(self) -> list[tuple[int, Example, Word, Substitute]]:
        """Every tested example with its peak word, and the word as its own substitute."""
        found = []
        for index in self.order:
            row = self.row_tokens(index)
            for neuron, example in self.of_row[index]:
                word = self._word(row, example)
                if word is not None:
                    found.append((neuron, example, word, self.finder.original(row, word)))
        return found

    @cached_property
    def _elsewhere(self) -> dict[int, list[tuple[int, Example, Substitute, int, int]]]:
        """By row of a context: each word that is run there, with its order and the position."""
        found: dict[int, list[tuple[int, Example, Substitute, int, int]]] = defaultdict(list)
        for neuron, example, word, _ in self._words:
            for order, (context, there) in enumerate(self._other_contexts(example, word), ALONE + 1):
                found[context.row].append((neuron, example, there, order, context.place.start))
        return found

    def _other_contexts(self, example: Example, word: Word) -> Iterator[tuple[Context, Substitute]]:
        """Some of the other contexts, with the word in each."""
        rng = np.random.default_rng([self.finder.config.seed, example.row, example.position, 2])
        wanted = self.finder.config.contexts
        for i in rng.permutation(len(self.contexts)):
            context = self.contexts[i]
            if wanted <= 0:
                return
            if context.row == example.row or context.place.text.casefold() == word.text.casefold():
                continue
            there = self.finder.elsewhere(context.place, word.text)
            if there is not None:
                yield context, there
                wanted -= 1

    def _word(self, row: Integer[np.ndarray, "pos"], example: Example) -> Word | None:
        """The peak word of an example; None where the peak is a control token."""
        vocabulary = self.subject.vocabulary
        return None if vocabulary.special[row[example.position]] else vocabulary.word_at(row, example.position)
