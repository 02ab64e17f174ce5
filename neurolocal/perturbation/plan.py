"""What is run for a layer: every substitute of every example, row by row, and what came out.

Invariant: of a substitute only numbers are kept (27 bytes), its text and tokens once for all that share them: 50,000
neurons x 10 examples x 25 substitutes take 340 MB. A row's substitutes are run before the next row's are found.
Cost: one pass over the rows that hold examples, one over `CONTEXTS` rows for the other contexts, and one over BOS.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64, Integer

from neurolocal.perturbation.substitutes import Common, Encoder, Substitute, Substitutes
from neurolocal.records import KINDS, Example
from neurolocal.words import WORD, Vocabulary, Word

CONTEXTS = 64
"""Random places of the corpus from which the other contexts of every word are drawn."""

PREFIX = 8
"""Tokens that stand before such a place at least."""

TOGETHER = 2048
"""Branches of one row that are handed over at once."""

Rows = Callable[[int], Integer[np.ndarray, "pos"]]
"""Row index in the corpus -> token ids."""


@runtime_checkable
class Strongest(Protocol):
    """Activations of branches; see `neurolocal.subject.packed.Activations`."""

    @property
    def largest(self) -> Float32[np.ndarray, "branch"]:
        """The largest over each branch's own tokens."""
        ...

    @property
    def smallest(self) -> Float32[np.ndarray, "branch"]:
        """The smallest over each branch's own tokens."""
        ...


@runtime_checkable
class BranchSubject(Encoder, Protocol):
    """A subject that runs branches; see `neurolocal.subject.packed.Packed`."""

    @property
    def half_precision(self) -> bool:
        """Whether it computes in 16 bits."""
        ...

    @property
    def bos(self) -> int | None:
        """The id that begins a row."""
        ...

    def activations(
        self, row: Any, branches: Mapping[int, Sequence[tuple[int, Sequence[int], int]]]
    ) -> Mapping[int, Any]:
        """By layer, the `Strongest` of each branch (position, token ids, neuron)."""
        ...


class Context(NamedTuple):
    """A place of the corpus where other words are put."""

    row: int
    """Index in the corpus; -1 is BOS alone."""
    place: Word


class Tried:
    """Every substitute that was run, as columns."""

    def __init__(self) -> None:
        self.neuron, self.rank, self.kind = array("i"), array("h"), array("b")
        self.text, self.cosine, self.position, self.down = array("i"), array("f"), array("i"), array("b")
        self.texts: list[str] = []
        self.tokens: list[tuple[int, ...]] = []
        self._known: dict[tuple[str, tuple[int, ...]], int] = {}
        self.activation = array("f")

    def add(self, neuron: int, example: Example, substitute: Substitute, *, position: int, down: bool) -> int:
        """One more; its number. `down`: the lowest activation is the strongest."""
        key = (substitute.text, substitute.tokens)
        if key not in self._known:
            self._known[key] = len(self.texts)
            self.texts.append(substitute.text)
            self.tokens.append(substitute.tokens)
        self.neuron.append(neuron)
        self.rank.append(example.rank)
        self.kind.append(KINDS.index(substitute.kind))
        self.text.append(self._known[key])
        self.cosine.append(substitute.cosine)
        self.position.append(position)
        self.down.append(down)
        self.activation.append(float("nan"))
        return len(self.neuron) - 1

    def run(self, numbers: Sequence[int], row: Integer[np.ndarray, "_"], subject: BranchSubject, layer: int) -> None:
        """Run some of them behind one row."""
        # By place, so that equal ones of several neurons are run in the same pass.
        order = sorted(numbers, key=lambda i: (self.position[i], self.text[i]))
        for begin in range(0, len(order), TOGETHER):
            some = order[begin : begin + TOGETHER]
            branches = [(self.position[i], self.tokens[self.text[i]], self.neuron[i]) for i in some]
            answer: Strongest = subject.activations(row, {layer: branches})[layer]
            largest, smallest = answer.largest, answer.smallest
            for k, i in enumerate(some):
                self.activation[i] = smallest[k] if self.down[i] else largest[k]


def contexts(subject: BranchSubject, rows: Rows, row_index: Int64[np.ndarray, "row"], *, seed: int) -> list[Context]:
    """Random words of random rows, at most one a row; the same for every neuron."""
    rng, found = np.random.default_rng([seed, len(row_index)]), []
    for index in rng.permutation(row_index)[: 4 * CONTEXTS].tolist():
        row = rows(index)
        if len(row) <= PREFIX:
            continue
        position = int(rng.integers(PREFIX, len(row)))
        word = subject.vocabulary.word_at(row, position)
        if not subject.vocabulary.special[row[position]] and WORD.fullmatch(word.text):
            found.append(Context(index, word))
        if len(found) == CONTEXTS:
            break
    return found


def run(
    neurons: Mapping[int, Sequence[Example]],
    rows: Rows,
    subject: BranchSubject,
    finder: Substitutes,
    layer: int,
    *,
    others: Sequence[Context],
    down: Callable[[Example], bool],
    check: Callable[[float, float, bool], None],
    progress: bool,
) -> Tried:
    """Row by row, so that a row's prefix is run once and no more than a row's branches are in memory.

    `check` is told each original's stored and repeated activation, and at the end once more with True.
    """
    from tqdm import tqdm

    config, tried = finder.config, Tried()
    commons = _commons(neurons, subject.vocabulary, finder)
    of_row: dict[int, list[tuple[int, Example]]] = defaultdict(list)
    for neuron, examples in neurons.items():
        for example in examples[: config.examples]:
            of_row[example.row].append((neuron, example))
    later: dict[int, array[int]] = defaultdict(lambda: array("i"))
    for index in tqdm(sorted(of_row), desc=f"perturbation: layer {layer}", unit="row", disable=not progress):
        row, places, numbers = rows(index), {}, list[int]()
        for neuron, example in of_row[index]:
            word = subject.vocabulary.word_at(row, example.position)
            if subject.vocabulary.special[row[example.position]]:
                continue
            if word.start not in places:
                places[word.start] = finder.at(row, word, row_index=index)
            own = finder.of_neuron(row, word, commons[neuron], row_index=index, rank=example.rank)
            for s in (*places[word.start], *own):
                numbers.append(tried.add(neuron, example, s, position=word.start, down=down(example)))
            if config.elsewhere:
                original = places[word.start][0]
                _elsewhere(tried, later, neuron, example, word, original, finder, others, down=down(example))
        tried.run(numbers, row, subject, layer)
        for i in numbers:
            if tried.kind[i] == 0:
                check(_stored(of_row[index], tried.neuron[i], tried.rank[i]), tried.activation[i], False)
    for index in tqdm(sorted(later), desc="perturbation: other contexts", unit="row", disable=not progress):
        begin = [] if subject.bos is None else [subject.bos]
        row = np.array(begin, np.int64) if index < 0 else rows(index)
        tried.run(later.pop(index).tolist(), row, subject, layer)
    check(0.0, 0.0, True)
    return tried


def _stored(examples: Sequence[tuple[int, Example]], neuron: int, rank: int) -> float:
    return next(e.activation for n, e in examples if n == neuron and e.rank == rank)


def _commons(
    neurons: Mapping[int, Sequence[Example]], vocabulary: Vocabulary, finder: Substitutes
) -> dict[int, Common]:
    """What each neuron's words have in common; and the neighbours of all of them, looked up at once."""
    words = {
        neuron: [vocabulary.word_at(e.tokens, e.peak).text for e in examples] for neuron, examples in neurons.items()
    }
    finder.know(w for own in words.values() for w in own[: finder.config.examples])
    return dict(zip(words, finder.in_common(list(words.values())), strict=True))


def _elsewhere(
    tried: Tried, later: dict[int, array[int]], neuron: int, example: Example, word: Word, original: Substitute,
    finder: Substitutes, others: Sequence[Context], *, down: bool,
) -> None:  # fmt: skip
    """The word after BOS alone, and in some of the other contexts."""
    subject: Any = finder.subject
    start = 0 if subject.bos is None else 1
    alone = original._replace(kind="alone")
    later[-1].append(tried.add(neuron, example, alone, position=start, down=down))
    rng = np.random.default_rng([finder.config.seed, example.row, example.position, 2])
    wanted = finder.config.elsewhere
    for i in rng.permutation(len(others)):
        row, place = others[i]
        if wanted <= 0:
            return
        if row == example.row or place.text.casefold() == word.text.casefold():
            continue
        there = finder.elsewhere(place, word.text)
        if there is not None:
            later[row].append(tried.add(neuron, example, there, position=place.start, down=down))
            wanted -= 1
