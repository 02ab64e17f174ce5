"""What is run for a layer: every substitute of every example, row by row, and what came out.

Invariant: of a substitute only numbers are kept (24 bytes, 28 in another context), its text and tokens once for all
that share them: 50,000 neurons x 10 examples x 25 substitutes take 300 MB. A row's substitutes are run before the next
row's are found.
Cost: one pass over the rows that hold examples, one over `CONTEXTS` rows for the other contexts, and one over BOS.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64, Integer

from neurolocal.perturbation.substitutes import Common, Encoder, Substitute, Substitutes
from neurolocal.records import KINDS, Example
from neurolocal.words import WORD, Word

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
    """Activations of branches; see `neurolocal.subject.packed.BranchActivations`."""

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
    """Index in the corpus."""
    place: Word
    """The word that stands there."""


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
        return len(self) - 1

    def __len__(self) -> int:
        """How many there are."""
        return len(self.neuron)

    def run(self, numbers: Iterable[int], row: Integer[np.ndarray, "_"], subject: BranchSubject, layer: int) -> None:
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


class Run:
    """One layer's run: what every step needs, and the substitutes that wait for another row."""

    def __init__(
        self, subject: BranchSubject, rows: Rows, finder: Substitutes, layer: int, *, others: Sequence[Context]
    ) -> None:
        """Begin. `others`: where else the words are put."""
        self.subject, self.rows, self.finder, self.layer, self.others = subject, rows, finder, layer, others
        self.tried = Tried()
        self._alone: array[int] = array("i")
        self._later: dict[int, array[int]] = defaultdict(lambda: array("i"))

    def run(
        self,
        neurons: Mapping[int, Sequence[Example]],
        *,
        down: Callable[[Example], bool],
        repeated: Callable[[float, float], None],
        progress: bool,
    ) -> Tried:
        """Row by row, so that a row's prefix is run once and no more than a row's branches are in memory.

        Args:
            neurons: examples by neuron.
            down: whether an example's activation is the stronger the lower it is.
            repeated: told each original's stored and repeated activation.
            progress: whether to show bars.
        """
        from tqdm import tqdm

        commons = self._commons(neurons)
        of_row: dict[int, list[tuple[int, Example]]] = defaultdict(list)
        for neuron, examples in neurons.items():
            for example in examples[: self.finder.config.examples]:
                of_row[example.row].append((neuron, example))
        for index in tqdm(sorted(of_row), desc=f"perturbation: layer {self.layer}", unit="row", disable=not progress):
            self._row(index, of_row[index], commons, down=down, repeated=repeated)
        for index in tqdm(sorted(self._later), desc="perturbation: other contexts", unit="row", disable=not progress):
            self.tried.run(self._later.pop(index), self.rows(index), self.subject, self.layer)
        begin = [] if self.subject.bos is None else [self.subject.bos]
        self.tried.run(self._alone, np.array(begin, np.int64), self.subject, self.layer)
        return self.tried

    def _commons(self, neurons: Mapping[int, Sequence[Example]]) -> dict[int, Common]:
        """What each neuron's words have in common; and the neighbours of all of them, looked up at once."""
        word_at = self.subject.vocabulary.word_at
        words = {neuron: [word_at(e.tokens, e.peak).text for e in examples] for neuron, examples in neurons.items()}
        self.finder.know(w for own in words.values() for w in own[: self.finder.config.examples])
        return dict(zip(words, self.finder.in_common(list(words.values())), strict=True))

    def _row(
        self,
        index: int,
        examples: Sequence[tuple[int, Example]],
        commons: Mapping[int, Common],
        *,
        down: Callable[[Example], bool],
        repeated: Callable[[float, float], None],
    ) -> None:
        row, vocabulary = self.rows(index), self.subject.vocabulary
        places: dict[int, list[Substitute]] = {}
        numbers: list[int] = []
        originals: list[tuple[float, int]] = []
        for neuron, example in examples:
            if vocabulary.special[row[example.position]]:
                continue
            word = vocabulary.word_at(row, example.position)
            if word.start not in places:
                places[word.start] = self.finder.at(row, word, row_index=index)
            common = commons[neuron]
            own = self.finder.of_neuron(row, word, common, row_index=index, rank=example.rank)
            originals.append((example.activation, len(self.tried)))
            for substitute in (*places[word.start], *own):
                numbers.append(self.tried.add(neuron, example, substitute, position=word.start, down=down(example)))
            if self.finder.config.contexts:
                self._in_other_contexts(neuron, example, word, places[word.start][0], down=down(example))
        self.tried.run(numbers, row, self.subject, self.layer)
        for stored, number in originals:
            repeated(stored, self.tried.activation[number])

    def _in_other_contexts(
        self, neuron: int, example: Example, word: Word, original: Substitute, *, down: bool
    ) -> None:
        """The word after BOS alone, and in some of the other contexts: kept for later."""
        start = 0 if self.subject.bos is None else 1
        alone = original._replace(kind="alone")
        self._alone.append(self.tried.add(neuron, example, alone, position=start, down=down))
        rng = np.random.default_rng([self.finder.config.seed, example.row, example.position, 2])
        wanted = self.finder.config.contexts
        for i in rng.permutation(len(self.others)):
            row, place = self.others[i]
            if wanted <= 0:
                return
            if row == example.row or place.text.casefold() == word.text.casefold():
                continue
            there = self.finder.elsewhere(place, word.text)
            if there is not None:
                self._later[row].append(self.tried.add(neuron, example, there, position=place.start, down=down))
                wanted -= 1
