"""The index of a store: from a token, or a word, to the neurons whose largest examples peak on it.

Invariant: a function of the `largest` lists, the rows and the vocabulary alone, so every writer makes the same index.
Cost: 16 bytes an example while the lists are added; building takes some 150 bytes an example more, a sort of all
examples, and the words of all rows that they lie in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64, Integer, Shaped, UInt8

from neurolocal.records import LayerRecord, Place, Site, TopK
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
        self._places: list[tuple[Place, Int64[np.ndarray, "neuron"], TopK]] = []

    def add(self, place: Place, record: LayerRecord) -> None:
        """Add the `largest` lists of a layer."""
        top = record.lists["largest"]
        self.add_lists(place, np.arange(len(top.row)) if record.neurons is None else record.neurons, top)

    def add_lists(self, place: Place, neurons: Int64[np.ndarray, "neuron"], top: TopK) -> None:
        """Add the lists of these neurons of a layer; their windows are not held."""
        bare = TopK(top.activation, top.row, top.position, np.empty((*top.row.shape, 0), np.float32))
        self._places.append((place, neurons, bare))

    def build(
        self,
        tokens: Integer[np.ndarray, "row pos"],
        length: Int64[np.ndarray, "row"],
        index: Int64[np.ndarray, "row"],
        vocabulary: Vocabulary,
    ) -> Index:
        """The index of all lists added.

        Args:
            tokens: the rows that the lists refer to, or more; entries at and after `length` are padding.
            length: tokens of each row.
            index: each one's row index in the corpus, ascending.
            vocabulary: the bytes of every token id.

        Raises:
            ValueError: a list refers to a row that is not among `tokens`, or to a position beyond its end.
        """
        cells = [self._cells(top, length, index, tokens.shape[1]) for _, _, top in self._places]
        alike = _lowest_alike(vocabulary)
        flat = tokens.reshape(-1)
        by_token = [np.where(cell >= 0, alike[flat[cell]] if flat.size else -1, -1) for cell in cells]
        used = np.unique(np.concatenate([np.empty(0, np.int64), *(cell[cell >= 0] for cell in cells)]))
        number, words = _words(used, tokens, length, vocabulary)
        padded = np.append(number, -1)
        by_word = [np.where(cell >= 0, padded[np.searchsorted(used, cell)], -1) for cell in cells]
        return Index(self._keyed(by_token, len(vocabulary.tokens)), self._keyed(by_word, len(words)), words)

    @staticmethod
    def _cells(
        top: TopK, length: Int64[np.ndarray, "row"], index: Int64[np.ndarray, "row"], n_pos: int
    ) -> Int64[np.ndarray, "neuron k"]:
        """Each example's place in the flattened table of rows; -1 for unused slots."""
        used = top.row >= 0
        at = np.minimum(np.searchsorted(index, top.row), max(len(index) - 1, 0))
        known = index[at] == top.row if len(index) else np.zeros(used.shape, bool)
        inside = (top.position >= 0) & (top.position < length[at]) if len(index) else known
        if (used & ~(known & inside)).any():
            raise ValueError("an example refers to a row, or to a position in it, that is not in rows")
        return np.where(used, at * n_pos + top.position, -1)

    def _keyed(self, keys: list[Int64[np.ndarray, "_ _"]], n_keys: int) -> KeyTable:
        """The entries of all lists, grouped by key."""
        found = [
            _entries(self.sites.index(site), layer, neurons, top.activation, key, n_keys)
            for ((site, layer), neurons, top), key in zip(self._places, keys, strict=True)
        ]
        key = np.concatenate([np.empty(0, np.int64), *(k for k, _ in found)])
        empty = [np.empty(0, kind) for kind in (np.uint8, np.int32, np.int32, np.int32, np.float32, np.float32)]
        columns = [np.concatenate(column) for column in zip(empty, *(entries for _, entries in found), strict=True)]
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
) -> tuple[Int64[np.ndarray, "cell"], list[str]]:
    """The words, sorted, and for each cell (a place in flattened `tokens`) the index of its case-folded word."""
    row, position = np.divmod(cells, max(tokens.shape[1], 1))
    numbers: dict[str, int] = {}
    found: list[int] = []
    begins = np.flatnonzero(np.diff(row, prepend=-1))
    for start, stop in zip(begins.tolist(), [*begins[1:].tolist(), len(row)], strict=len(begins) > 0):
        ids = tokens[row[start]][: length[row[start]]]
        few = SPARSE * (stop - start) < len(ids)
        words = None if few else vocabulary.row_words(ids)
        for at in position[start:stop].tolist():
            word = vocabulary.word_at(ids, at).text if words is None else words.text(at)
            found.append(numbers.setdefault(word.casefold(), len(numbers)))
    ordered = sorted(numbers, key=lambda word: word.encode())
    place = np.empty(len(ordered), np.int64)
    place[[numbers[word] for word in ordered]] = np.arange(len(ordered))
    return place[np.array(found, np.int64)], ordered
