"""The tokens and words of the index, each with the site's neurons that peak on it most.

Invariant: entries of other sites of the store and of neurons without a page are left out, before the strongest are
taken. Cost: the index is read once, `AT_ONCE` entries at a time; at most `MOST` entries of a key are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int64

from neurolocal.site.selection import Selection
from neurolocal.store import Store
from neurolocal.store.index import Entries
from neurolocal.store.read_index import BuiltIndex, By, StoredIndex, open_index

AT_ONCE = 1 << 18
"""Entries that are read at once."""

MOST = 50
"""Neurons of a term that are kept."""


@dataclass(frozen=True)
class Terms:
    """Terms with their strongest neurons; the entries of term i are `offsets[i]` to `offsets[i + 1]`."""

    offsets: Int64[np.ndarray, "_"]
    total: Int64[np.ndarray, "term"]
    """How many neurons of the site peak on each term, those that were not kept included."""
    entries: Entries
    """Strongest first within each term."""


class Index:
    """The terms of a site."""

    def __init__(self, store: Store, selection: Selection) -> None:
        """Of the selected neurons of a store."""
        self._store, self._selection = store, selection

    @cached_property
    def token(self) -> Terms:
        """By token id."""
        return self._terms("token")

    @cached_property
    def word(self) -> Terms:
        """By number of `words`."""
        return self._terms("word")

    @cached_property
    def words(self) -> list[str]:
        """The case-folded words."""
        return self._index.words

    @cached_property
    def number(self) -> dict[str, int]:
        """Case-folded word -> its number."""
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def _index(self) -> StoredIndex | BuiltIndex:
        return open_index(self._store)

    def _terms(self, by: By) -> Terms:
        offsets = self._index.offsets(by)
        total = np.zeros(len(offsets) - 1, np.int64)
        kept, lengths = [], np.zeros(len(offsets) - 1, np.int64)
        for first, stop in _portions(offsets):
            entries = self._index.slice(by, int(offsets[first]), int(offsets[stop]))
            key = np.repeat(np.arange(first, stop), np.diff(offsets[first : stop + 1]))
            here = self._shown(entries)
            key, entries = key[here], Entries(*(column[here] for column in entries))
            begins = np.searchsorted(key, np.arange(first, stop + 1))
            total[first:stop] = np.diff(begins)
            early = np.arange(len(key)) - begins[key - first] < MOST
            kept.append(Entries(*(column[early] for column in entries)))
            lengths[first:stop] = np.minimum(total[first:stop], MOST)
        columns = [np.concatenate(column) for column in zip(*kept, strict=True)]
        return Terms(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), total, Entries(*columns))

    def _shown(self, entries: Entries) -> Bool[np.ndarray, "_"]:
        """Whether each entry is of a neuron that has a page."""
        here = entries.site == self._store.sites.index(self._store.site)
        layers = self._selection.neurons
        here &= np.isin(entries.layer, np.array(list(layers), np.int64))
        for layer in np.unique(entries.layer[here]).tolist():
            mine = np.flatnonzero(here & (entries.layer == layer))
            here[mine[~np.isin(entries.neuron[mine], layers[layer])]] = False
        return here


def _portions(offsets: Int64[np.ndarray, "_"]) -> Iterator[tuple[int, int]]:
    """Consecutive keys with about `AT_ONCE` entries: first, last + 1."""
    first, n = 0, len(offsets) - 1
    while first < n:
        stop = max(int(np.searchsorted(offsets, offsets[first] + AT_ONCE, side="right")) - 1, first + 1)
        yield first, stop
        first = stop
    if not n:
        yield 0, 0
