"""Whole rows of the corpus in script files, several rows a file, for pages that show a row on demand.

A row is a list with one text a token; tokens that form one character together are one text and then empty ones, so the
place of a text is the position of its token. Invariant: the texts are visible. Cost: linear in the tokens of a file.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from jaxtyping import Bool, Integer

from neurolocal.render.spans import groups
from neurolocal.render.windows import token_text
from neurolocal.site.selection import Selection
from neurolocal.store import Store

TOKENS = 32_768
"""Tokens of a file, about: some 200 kB."""


class RowFiles:
    """The rows that the pages of a site refer to."""

    def __init__(self, store: Store, selection: Selection) -> None:
        """The rows in which the selected neurons of a store have examples."""
        self._store, self._selection = store, selection

    @cached_property
    def per_file(self) -> int:
        """Rows of a file."""
        length = max(self._store.rows_stored[0].shape[1], 1) if len(self._store.row_index) else 1
        return max(TOKENS // length, 1)

    @cached_property
    def numbers(self) -> list[int]:
        """The files that pages refer to, ascending."""
        n = len(self._store.row_index)
        if self._selection.whole and len(self._selection.layers) == len(self._store.layers):
            return list(range(-(-n // self.per_file)))
        used = np.zeros(-(-n // self.per_file), bool)
        self._mark(used, self._store.sample.row)
        for layer, neurons in self._selection.neurons.items():
            at = np.isin(self._store.neurons(layer), neurons)
            for side in self._store.sides(layer):
                rows = self._store.example_rows(layer, side)[at]
                self._mark(used, rows[rows >= 0])
        return np.flatnonzero(used).tolist()

    def file(self, number: int) -> list[list[str]] | None:
        """The rows of one file, in the order of the stored rows; None if there is no such file."""
        if number not in self._known:
            return None
        first = number * self.per_file
        tokens, length = self._store.rows_stored
        n = min(first + self.per_file, len(tokens))
        return [self._texts(tokens[i][: length[i]].tolist()) for i in range(first, n)]

    @cached_property
    def _known(self) -> frozenset[int]:
        return frozenset(self.numbers)

    def _mark(self, used: Bool[np.ndarray, "file"], rows: Integer[np.ndarray, "_"]) -> None:
        used[np.searchsorted(self._store.row_index, rows) // self.per_file] = True

    def _texts(self, ids: list[int]) -> list[str]:
        vocabulary, texts = self._store.vocabulary, [""] * len(ids)
        for group in groups(ids, vocabulary):
            texts[group[0]] = token_text(vocabulary.text([ids[i] for i in group]))
        return texts
