"""The search of the site: its terms in order, cut into small script files, with a list of what each file begins with.

There are three kinds of terms: `word` (whole peak words), `token` (exact texts of tokens) and `text` (words of
descriptions). A browser finds the file of a term by the first terms of all files, and so loads one or two files a term.
Invariant: the files of a kind hold all of its terms once, in the order of their characters' code points. A term has at
most `MOST` neurons (`MOST_DESCRIBED` for words of descriptions) and the number of all.
Cost: the index is read once; the descriptions of all layers are held in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from neurolocal.literals import VERDICTS
from neurolocal.render.visible import LONGEST, visible
from neurolocal.site.selection import Selection
from neurolocal.site.terms import MOST, Index, Terms
from neurolocal.store import Store
from neurolocal.words import WORD

Kind = Literal["word", "token", "text"]
"""What the terms of a file are."""

KINDS: tuple[Kind, ...] = get_args(Kind)

ENTRIES = 3_000
"""Neurons that a file of words or tokens lists, about: some 40 kB."""

DESCRIBED = 400
"""The same of a file of words of descriptions, whose neurons have their description: some 40 kB."""

MOST_DESCRIBED = 200
"""Neurons of a word of descriptions that are listed."""

Described = tuple[int, int, int, str]
"""Layer, neuron, number of the verdict (-1: none), description."""


@dataclass(frozen=True)
class Cut:
    """The terms of a kind, in order, and where the files begin."""

    terms: list[tuple[str, int]]
    """Text of a term, and its number in the index."""
    begins: list[int]
    """The first term of each file, and the number of terms."""

    @property
    def files(self) -> int:
        """How many files."""
        return len(self.begins) - 1

    @property
    def first(self) -> list[str]:
        """The text of the first term of each file."""
        return [self.terms[at][0] for at in self.begins[:-1]]


class SearchFiles:
    """The data of the files of a site's search."""

    def __init__(self, store: Store, selection: Selection, index: Index) -> None:
        """Of the selected neurons of a store."""
        self._store, self._selection, self._index = store, selection, index
        self._cuts: dict[Kind, Cut] = {}

    def files(self, kind: Kind) -> int:
        """How many files a kind has."""
        return self._cut(kind).files

    def contents(self) -> dict[str, Any]:
        """What each file begins with, by kind."""
        return {kind: self._cut(kind).first for kind in KINDS}

    def file(self, kind: Kind, number: int) -> list[list[Any]] | None:
        """The terms of one file: text, number of neurons, neurons; None if there is no such file.

        The neurons of words and tokens are numbers in a row, `layer, neuron, examples, share of activation in
        thousandths`; those of descriptions are lists, `layer, neuron, verdict, description`.
        """
        cut = self._cut(kind)
        if not 0 <= number < cut.files:
            return None
        terms = cut.terms[cut.begins[number] : cut.begins[number + 1]]
        if kind == "text":
            words = list(self._described.values())
            return [[text, len(words[at]), words[at][:MOST_DESCRIBED]] for text, at in terms]
        found = self._index.word if kind == "word" else self._index.token
        return [[text, int(found.total[at]), _flat(found, at)] for text, at in terms]

    def _cut(self, kind: Kind) -> Cut:
        if kind not in self._cuts:
            self._cuts[kind] = {"word": self._words, "token": self._tokens, "text": self._texts}[kind]()
        return self._cuts[kind]

    def _words(self) -> Cut:
        total = self._index.word.total.tolist()
        return _cut([(word, at) for at, word in enumerate(self._index.words) if total[at]], total, MOST, ENTRIES)

    def _tokens(self) -> Cut:
        total, terms = self._index.token.total.tolist(), []
        for at, token in enumerate(self._store.vocabulary.tokens):
            if total[at]:
                text = token.decode("utf-8", "replace")
                if "�" not in text:  # parts of characters cannot be typed
                    terms.append((text, at))
        return _cut(terms, total, MOST, ENTRIES)

    def _texts(self) -> Cut:
        terms = [(word, at) for at, word in enumerate(self._described)]
        return _cut(terms, [len(one) for one in self._described.values()], MOST_DESCRIBED, DESCRIBED)

    @cached_property
    def _described(self) -> dict[str, list[Described]]:
        """Case-folded word -> the described neurons in whose description it is."""
        found: dict[str, list[Described]] = {}
        for layer in self._selection.layers:
            table, judged = (self._store.evidence(stage, layer) for stage in ("summary", "verdict"))
            if table is None:
                continue
            verdicts = {} if judged is None else dict(zip(judged.neuron.tolist(), judged.verdict, strict=True))
            for neuron, description in zip(table.neuron.tolist(), table.description, strict=True):
                if description and self._selection.at(layer, neuron) is not None:
                    verdict = verdicts.get(neuron)
                    number = VERDICTS.index(verdict) if verdict in VERDICTS else -1
                    entry = (layer, neuron, number, visible(description, limit=LONGEST))
                    for word in dict.fromkeys(word.casefold() for word in WORD.findall(description)):
                        found.setdefault(word, []).append(entry)
        return found


def _cut(terms: Sequence[tuple[str, int]], total: Sequence[int], most: int, entries: int) -> Cut:
    """The terms in order, a new file after every so many entries."""
    ordered = sorted((visible(text, limit=LONGEST), at) for text, at in terms)
    begins, held = [0], 0
    for i, (_, at) in enumerate(ordered):
        if held >= entries:
            begins.append(i)
            held = 0
        held += min(total[at], most) + 2
    return Cut(ordered, [*begins, len(ordered)] if ordered else [0])


def _flat(terms: Terms, at: int) -> list[int]:
    begin, end = terms.offsets[at : at + 2].tolist()
    e = terms.entries
    columns = (column[begin:end].tolist() for column in (e.layer, e.neuron, e.examples, e.strength))
    found = zip(*columns, strict=True)
    return [v for layer, neuron, n, share in found for v in (layer, neuron, n, round(1000 * share))]
