"""The index of a store: from a token, or a word, to the neurons whose largest examples peak on it.

Invariant: a function of the `largest` lists, the rows and the vocabulary alone, so every writer makes the same index.
Cost: 16 bytes an example while the lists are added; building takes some 150 bytes an example more, a sort of all
examples, and the words of all rows that they lie in, which need not be in memory together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64, Integer, Shaped, UInt8

from neurolocal.records import LayerRecord, Place, Site, TopK
from neurolocal.store.write_rows import StoredRows
from neurolocal.words import Vocabulary

SPARSE = 32
"""Tokens of a row for each word needed, from which single words (`word_at`) cost less than all words of the row."""


class Entries(NamedTuple):
    """The neurons that peak on each key, ordered by key, then strongest first.

    Ties go to the larger activation, the site that the config names first, the lower layer, the lower neuron.
    """

    site: UInt8[np.ndarray, "entry"]
    """Number of the site in the config's `sites`."""
    layer: Int32[np.ndarray, "entry"]
    """Index of the layer."""
    neuron: Int32[np.ndarray, "entry"]
    """Index within the layer."""
    examples: Int32[np.ndarray, "entry"]
    """How many of the neuron's examples peak on the key."""
    strength: Float32[np.ndarray, "entry"]
    """Their share of the |activation| of all its examples, in [0, 1]."""
    activation: Float32[np.ndarray, "entry"]
    """The largest activation among them."""


class KeyTable(NamedTuple):
    """Entries grouped by key."""

    offsets: Int64[np.ndarray, "_"]
    """The entries of key i are `offsets[i]` to `offsets[i + 1]`; one more offset than keys."""
    entries: Entries


@dataclass(frozen=True)
class Index:
    """The neurons by token and by word."""

    token: KeyTable
    """Keys are token ids; ids of the same bytes are all filed under the lowest of them."""
    word: KeyTable
    """Keys number `words`."""
    words: list[str]
    """The case-folded peak words, in the order of their UTF-8 bytes."""


class IndexBuilder:
    """Collects the peaks of the lists of all layers, one layer at a time."""

    def __init__(self, sites: tuple[Site, ...]) -> None:
        """No lists yet; `sites` in the order of the config."""
        self.sites = sites
        self._lists: list[_Lists] = []
        self._rows: list[Int64[np.ndarray, "_"]] = []
        self._positions: list[Int32[np.ndarray, "_"]] = []

    def add(self, place: Place, record: LayerRecord) -> None:
        """Add the `largest` lists of a layer."""
        top = record.lists["largest"]
        self.add_lists(place, np.arange(len(top.row)) if record.neurons is None else record.neurons, top)

    def add_lists(self, place: Place, neurons: Int64[np.ndarray, "neuron"], top: TopK) -> None:
        """Add the lists of these neurons of a layer; their windows are not held."""
        self._lists.append(_Lists(place, neurons, top.activation))
        self._rows.append(top.row.ravel())
        self._positions.append(top.position.ravel())

    def peaks(self, vocabulary: Vocabulary) -> Peaks:
        """The peaks of all lists added, which then meet their rows; nothing can be added afterwards."""
        row = np.concatenate([np.empty(0, np.int64), *self._rows])
        position = np.concatenate([np.empty(0, np.int32), *self._positions])
        self._rows.clear()
        self._positions.clear()
        return Peaks(self.sites, self._lists, row, position, vocabulary)

    def build(self, rows: StoredRows, vocabulary: Vocabulary) -> Index:
        """The index of all lists added, whose rows are in memory.

        Raises:
            ValueError: see `Peaks`.
        """
        peaks = self.peaks(vocabulary)
        peaks.meet(rows)
        return peaks.index()


class _Lists(NamedTuple):
    """The `largest` lists of a layer."""

    place: Place
    neurons: Int64[np.ndarray, "neuron"]
    activation: Float32[np.ndarray, "neuron k"]


NOT_THERE = "an example refers to a row, or to a position in it, that is not in rows"


class Peaks:
    """The token and the word at every example's peak, found block by block of the rows."""

    def __init__(
        self,
        sites: tuple[Site, ...],
        lists: list[_Lists],
        row: Int64[np.ndarray, "example"],
        position: Int32[np.ndarray, "example"],
        vocabulary: Vocabulary,
    ) -> None:
        """No row met yet.

        Args:
            sites: in the order of the config.
            lists: of all layers.
            row: of every example of these lists, in order; -1 in an unused slot.
            position: its position.
            vocabulary: the bytes of every token id.
        """
        self._sites, self._lists, self._vocabulary = sites, lists, vocabulary
        self._row, self._position = row, position
        self._order = np.argsort(row, kind="stable")
        self._next = int(np.searchsorted(row, 0, sorter=self._order))
        self._alike = _lowest_alike(vocabulary)
        self._token, self._word = np.full(len(row), -1, np.int32), np.full(len(row), -1, np.int32)
        self._numbers: dict[str, int] = {}

    def meet(self, rows: StoredRows) -> None:
        """Look at the next rows; each block is of higher rows than the one before.

        Raises:
            ValueError: a list refers to a row that no block has, or to a position beyond its end.
        """
        if not len(rows.index):
            return
        stop = int(np.searchsorted(self._row, rows.index[-1], side="right", sorter=self._order))
        mine, self._next = self._order[self._next : stop], stop
        row, position = self._row[mine], self._position[mine]
        at = np.searchsorted(rows.index, row)
        if not ((rows.index[at] == row) & (position >= 0) & (position < rows.length[at])).all():
            raise ValueError(NOT_THERE)
        self._token[mine] = self._alike[rows.tokens[at, position]]
        cells, inverse = np.unique(at * rows.tokens.shape[1] + position, return_inverse=True)
        self._word[mine] = _words(cells, rows.tokens, rows.length, self._vocabulary, self._numbers)[inverse]

    def index(self) -> Index:
        """The index, once all rows have been met.

        Raises:
            ValueError: a list refers to a row that no block had.
        """
        if self._next < len(self._row):
            raise ValueError(NOT_THERE)
        words = sorted(self._numbers, key=lambda word: word.encode())
        place = np.full(len(words) + 1, -1, np.int32)  # the last one is that of unused slots, -1
        place[[self._numbers[word] for word in words]] = np.arange(len(words), dtype=np.int32)
        by_token = self._keyed(self._token, len(self._vocabulary.tokens))
        return Index(by_token, self._keyed(place[self._word], len(words)), words)

    def _keyed(self, keys: Int32[np.ndarray, "example"], n_keys: int) -> KeyTable:
        """The entries of all lists, grouped by key."""
        found, begin = [], 0
        for (site, layer), neurons, activation in self._lists:
            own = keys[begin : begin + activation.size].reshape(activation.shape)
            begin += activation.size
            found.append(_entries(self._sites.index(site), layer, neurons, activation, own, n_keys))
        key = np.concatenate([np.empty(0, np.int64), *(k for k, _ in found)])
        empty = [np.empty(0, kind) for kind in (np.uint8, np.int32, np.int32, np.int32, np.float32, np.float32)]
        columns = [np.concatenate(column) for column in zip(empty, *(entries for _, entries in found), strict=True)]
        del found
        site, layer, neuron, _, strength, activation = columns
        order = np.lexsort((neuron, layer, site, -activation, -strength, key))
        offsets = np.searchsorted(key[order], np.arange(n_keys + 1)).astype(np.int64)
        return KeyTable(offsets, Entries(*(column[order] for column in columns)))


def _entries(
    site: int,
    layer: int,
    neurons: Int64[np.ndarray, "neuron"],
    activation: Float32[np.ndarray, "neuron k"],
    key: Shaped[np.ndarray, "neuron k"],
    n_keys: int,
) -> tuple[Int64[np.ndarray, "_"], Entries]:
    """The keys and entries of one layer's lists; a neuron whose examples on a key are all 0 has no entry there."""
    at, rank = np.nonzero(key >= 0)
    values = activation[at, rank]
    weight = np.abs(values.astype(np.float64))
    code, inverse = np.unique(at * n_keys + key[at, rank].astype(np.int64), return_inverse=True)
    # bincount adds in the order of the ranks, so another implementation can get the same bits.
    mass = np.bincount(inverse, weights=weight, minlength=len(code))
    total = np.bincount(at, weights=weight, minlength=len(neurons))
    examples = np.bincount(inverse, minlength=len(code))
    best = np.full(len(code), -np.inf, np.float32)
    np.maximum.at(best, inverse, values)
    keep = mass > 0
    owner = code[keep] // max(n_keys, 1)
    strength = np.minimum(mass[keep] / total[owner], 1.0)
    n = len(owner)
    return code[keep] % max(n_keys, 1), Entries(
        np.full(n, site, np.uint8),
        np.full(n, layer, np.int32),
        neurons[owner].astype(np.int32),
        examples[keep].astype(np.int32),
        strength.astype(np.float32),
        best[keep],
    )


def _lowest_alike(vocabulary: Vocabulary) -> Int64[np.ndarray, "d_vocab"]:
    """For each token id the lowest id of the same bytes; SentencePiece may have two ids for one letter."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(token, i) for i, token in enumerate(vocabulary.tokens)], np.int64)


def _words(
    cells: Int64[np.ndarray, "cell"],
    tokens: Integer[np.ndarray, "row pos"],
    length: Int64[np.ndarray, "row"],
    vocabulary: Vocabulary,
    numbers: dict[str, int],
) -> Int32[np.ndarray, "cell"]:
    """For each cell (a place in flattened `tokens`) the number of its case-folded word; new words get the next one."""
    row, position = np.divmod(cells, max(tokens.shape[1], 1))
    found: list[int] = []
    begins = np.flatnonzero(np.diff(row, prepend=-1))
    for start, stop in zip(begins.tolist(), [*begins[1:].tolist(), len(row)], strict=len(begins) > 0):
        ids = tokens[row[start]][: length[row[start]]]
        few = SPARSE * (stop - start) < len(ids)
        words = None if few else vocabulary.row_words(ids)
        for at in position[start:stop].tolist():
            word = vocabulary.word_at(ids, at).text if words is None else words.text(at)
            found.append(numbers.setdefault(word.casefold(), len(numbers)))
    return np.array(found, np.int32)
