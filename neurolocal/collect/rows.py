"""The token rows that an example or the sample refers to, with the documents that each is made of.

Invariant: after `prune`, exactly these rows. Between prunings new rows are held too: at most as many tokens as the rows
referred to have (or `SLACK`, if that is more). So memory depends on the lists, not on the corpus.
Cost: 2 bytes a token (4 where the vocabulary has over 65,536 entries).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int64

from neurolocal.provenance import Parts

SLACK = 1 << 22
"""Tokens of new rows that are held before the first pruning."""


class RowBuffer:
    """Rows by ascending row index; new ones come last."""

    def __init__(self, row_length: int, *, d_vocab: int) -> None:
        """No rows."""
        self.tokens = np.empty((0, row_length), np.uint16 if d_vocab <= 1 << 16 else np.uint32)
        self.length, self.index = np.empty(0, np.int64), np.empty(0, np.int64)
        self.parts = Parts.empty()
        self._fresh: list[tuple[np.ndarray, np.ndarray, np.ndarray, Parts]] = []
        self._fresh_tokens = 0

    def add(
        self,
        tokens: Int64[np.ndarray, "batch pos"],
        length: Int64[np.ndarray, "batch"],
        index: Int64[np.ndarray, "batch"],
        parts: Parts,
    ) -> None:
        """Hold the rows of a batch until the next pruning."""
        self._fresh.append((tokens.astype(self.tokens.dtype), length, index, parts))
        self._fresh_tokens += tokens.size

    def copy(self) -> RowBuffer:
        """The rows now; neither shares later ones."""
        made = copy.copy(self)  # arrays are replaced, never changed
        made._fresh = list(self._fresh)
        return made

    @property
    def due(self) -> bool:
        """Whether new rows take more memory than the rows referred to (and more than `SLACK`)."""
        return self._fresh_tokens > max(SLACK, self.tokens.size)

    def prune(self, used: Iterable[Int64[np.ndarray, "_"]]) -> None:
        """Drop the rows whose index is not among the given ones (-1 stands for no row)."""
        rows = [(self.tokens, self.length, self.index, self.parts), *self._fresh]
        index = np.concatenate([row[2] for row in rows])
        keep = np.zeros(len(index) + 1, bool)
        for some in used:
            at = np.searchsorted(index, some)
            keep[np.where(some >= 0, at, len(index))] = True
        keep = keep[:-1]
        ends = np.cumsum([len(row[2]) for row in rows])
        wanted = np.split(keep, ends[:-1])
        self.tokens = np.concatenate([row[0][mine] for row, mine in zip(rows, wanted, strict=True)])
        self.length = np.concatenate([row[1][mine] for row, mine in zip(rows, wanted, strict=True)])
        self.index = index[keep]
        self.parts = Parts.concatenate([row[3].take(mine) for row, mine in zip(rows, wanted, strict=True)])
        self._fresh, self._fresh_tokens = [], 0
