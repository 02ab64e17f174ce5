"""Reading the index of a store: the entries of a key, or of all keys.

Invariant: `StoredIndex` and `BuiltIndex` give the same entries. Offsets and figures are checked before they are used;
whether the store has an entry's neuron is checked by whoever uses it.
Cost: a stored index reads the entries asked for; where there is none (a checkpoint, a store of an older writer) it is
built, which reads all lists.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Int64

from neurolocal.records import Site
from neurolocal.store.checked import CheckedFile
from neurolocal.store.index import Entries, Index, IndexBuilder, KeyTable
from neurolocal.store.read import Store
from neurolocal.store.write_rows import StoredRows

TYPES = {"site": "u1", "layer": "i4", "neuron": "i4", "examples": "i4", "strength": "f4", "activation": "f4"}
"""The columns of an index as they are stored."""

By = Literal["token", "word"]
"""What the keys of an index are."""


class StoredIndex:
    """The index in the file; only the entries asked for are read."""

    def __init__(self, store: Store) -> None:
        """Of an open store that has an index."""
        self._file, self._tokens = store.checked, store.vocabulary.tokens
        self._text, self._begins = self._file.packed("find/word/text")

    @cached_property
    def words(self) -> list[str]:
        """The keys of the words, in the order of their UTF-8 bytes."""
        begins = self._begins.tolist()
        return [self._text[a:b].decode("utf-8", "replace") for a, b in pairwise(begins)]

    def token(self, text: str) -> int | None:
        """The key of a token's exact text."""
        return token_key(self._tokens, text)

    def word(self, text: str) -> int | None:
        """The key of a word, whatever its case."""
        wanted, begins, data = encoded(word_key(text)), self._begins, self._text

        def spelt(i: int) -> bytes:
            return data[begins[i] : begins[i + 1]]

        if wanted is None:
            return None
        i = bisect_left(range(len(begins) - 1), wanted, key=spelt)
        return i if i < len(begins) - 1 and spelt(i) == wanted else None

    def offsets(self, by: By) -> Int64[np.ndarray, "_"]:
        """The entries of key i are `offsets[i]` to `offsets[i + 1]`."""
        keys = len(self._tokens) if by == "token" else len(self._begins) - 1
        offsets = self._file.array(f"find/{by}/offsets", "i8", shape=(keys + 1,))
        length = len(self._file.dataset(f"find/{by}/neuron", "i4", 1))
        if offsets[0] != 0 or offsets[-1] != length or (offsets[1:] < offsets[:-1]).any():
            raise self._file.bad(f"find/{by}/offsets does not fit its columns")
        return offsets

    def entries(self, by: By, key: int) -> Entries:
        """The entries of one key, strongest first."""
        keys = len(self._tokens) if by == "token" else len(self._begins) - 1
        offsets = self._file.dataset(f"find/{by}/offsets", "i8", 1)
        if len(offsets) != keys + 1:
            raise self._file.bad(f"the columns of find/{by} differ in length")
        with self._file.reading(f"find/{by}"):
            start, stop = offsets[key : key + 2].tolist()
        return self.slice(by, start, stop)

    def slice(self, by: By, start: int, stop: int) -> Entries:
        """The entries of consecutive keys, by their offsets."""
        columns = {name: self._file.dataset(f"find/{by}/{name}", kind, 1) for name, kind in TYPES.items()}
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise self._file.bad(f"the columns of find/{by} differ in length")
        with self._file.reading(f"find/{by}"):
            if not 0 <= start <= stop <= lengths.pop():
                raise self._file.bad(f"find/{by}/offsets points outside its columns")
            found = Entries(*(columns[name][start:stop] for name in Entries._fields))
        return _possible(found, self._file, by)


class BuiltIndex:
    """An index built from the lists of a store that has none."""

    def __init__(self, at: dict[Site, Store], store: Store) -> None:
        """Of all sites of a store, each opened."""
        builder = IndexBuilder(store.sites)
        for site, opened in at.items():
            for layer in opened.layers:
                builder.add_lists((site, layer), opened.neurons(layer), opened.top(layer, "largest"))
        tokens, length = store.rows_stored
        try:
            self._index: Index = builder.build(StoredRows(tokens, length, store.row_index, {}), store.vocabulary)
        except ValueError as error:
            raise store.checked.bad(str(error)) from error
        self._tokens, self._file = store.vocabulary.tokens, store.checked

    @property
    def words(self) -> list[str]:
        """The keys of the words, in the order of their UTF-8 bytes."""
        return self._index.words

    def token(self, text: str) -> int | None:
        """The key of a token's exact text."""
        return token_key(self._tokens, text)

    def word(self, text: str) -> int | None:
        """The key of a word, whatever its case."""
        word = word_key(text)
        return self._index.words.index(word) if word in self._index.words else None

    def offsets(self, by: By) -> Int64[np.ndarray, "_"]:
        """The entries of key i are `offsets[i]` to `offsets[i + 1]`."""
        keyed: KeyTable = getattr(self._index, by)
        return keyed.offsets

    def entries(self, by: By, key: int) -> Entries:
        """The entries of one key, strongest first."""
        start, stop = self.offsets(by)[key : key + 2].tolist()
        return self.slice(by, start, stop)

    def slice(self, by: By, start: int, stop: int) -> Entries:
        """The entries of consecutive keys, by their offsets."""
        keyed: KeyTable = getattr(self._index, by)
        return _possible(Entries(*(column[start:stop] for column in keyed.entries)), self._file, by)


def _possible(entries: Entries, file: CheckedFile, by: By) -> Entries:
    """The entries, if their figures can be.

    Raises:
        StoreError: a strength outside 0 to 1, an activation that is no number, or no example.
    """
    strength = entries.strength
    if not ((strength >= 0) & (strength <= 1) & np.isfinite(entries.activation) & (entries.examples > 0)).all():
        raise file.bad(f"find/{by} holds impossible figures")
    return entries


def open_index(store: Store) -> StoredIndex | BuiltIndex:
    """The index of a store: the one in the file, or else one built of the store's own site."""
    return StoredIndex(store) if store.checked.has("find") else BuiltIndex({store.site: store}, store)


def word_key(text: str) -> str:
    """The key of a text in the index of words: stripped (unless nothing is left) and case-folded."""
    return (text.strip() or text).casefold()


def encoded(text: str) -> bytes | None:
    """The text's bytes, with surrogate escapes of a command line undone; None for a text that cannot be encoded."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None


def token_key(tokens: Sequence[bytes], text: str) -> int | None:
    """The lowest id of exactly that text."""
    wanted = encoded(text)
    return tokens.index(wanted) if wanted is not None and wanted in tokens else None
