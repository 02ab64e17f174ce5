"""Which positions of a batch each expert was asked at, as the compiled kernels take it.

Invariant: the entries of an expert ascend by row, then position, so a row's entries are one slice and its counted ones
are a few ranges of it. Cost: a few passes over the entries' places, never over activations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from neurolocal.collect.sample import Draw
from neurolocal.subject.routed import Routed


class RoutedRuns(NamedTuple):
    """What `state.BatchRuns` says, of one expert.

    Its neurons have an entry at each position that was routed to it, and at no other.
    """

    runs: np.ndarray
    """(batch, run, 2) int64: the counted entries of a row as half-open ranges of that row's entries."""
    n_runs: np.ndarray
    """(batch,) int64."""
    rows: np.ndarray
    """(batch,) int64."""
    rank: np.ndarray
    """(batch,) int64: `bands.ranks` of the rows."""
    drawn: np.ndarray
    """(n,) int64: the entries that the histogram counts."""
    first: np.ndarray
    """(batch + 1,) int64: the entries of row b are `first[b]` to `first[b + 1]`."""
    position: np.ndarray
    """(entry,) int32: the position of each entry in its row."""
    text: np.ndarray
    """(batch, pos) int64: what names the text up to each position; (batch, 0) without `dedupe`."""


class Routes:
    """Where the entries of a batch are, expert by expert, and which of them are counted and drawn."""

    def __init__(
        self,
        x: Routed,
        rows: Int64[np.ndarray, "batch"],
        rank: Int64[np.ndarray, "batch"],
        mask: Bool[np.ndarray, "batch pos"],
        drawn: Draw,
        text: Int64[np.ndarray, "batch _"],
    ) -> None:
        """Look at the entries of a batch.

        Args:
            x: activations; where they are is all that is read.
            rows: row indices, ascending.
            rank: `bands.ranks` of them.
            mask: whether each position is counted.
            drawn: the positions for the histogram and the sample.
            text: see `RoutedRuns`.
        """
        n_rows, n_pos = x.shape
        token = x.token.numpy()
        self.offsets: list[int] = x.offsets.tolist()
        """The entries of expert e are `offsets[e]` to `offsets[e + 1]`."""
        self._rows, self._rank, self._text, self._position = rows, rank, text, (token % n_pos).astype(np.int32)
        mine = mask.ravel()[token]
        row = x.expert.numpy() * n_rows + token // n_pos
        self._first = np.searchsorted(row, np.arange(x.n_experts * n_rows + 1))
        self.counted: Int64[np.ndarray, "expert"] = np.bincount(x.expert.numpy()[mine], minlength=x.n_experts)
        """Counted positions that were routed to each expert."""
        before, after = np.zeros(len(mine), bool), np.zeros(len(mine), bool)  # in the same row and counted
        same = row[1:] == row[:-1]
        before[1:], after[:-1] = same & mine[:-1], same & mine[1:]
        start, stop = np.flatnonzero(mine & ~before), np.flatnonzero(mine & ~after) + 1
        of = row[start]
        self._n_runs = np.bincount(of, minlength=x.n_experts * n_rows).reshape(x.n_experts, n_rows)
        self._runs = np.zeros((x.n_experts * n_rows, max(1, self._n_runs.max(initial=0)), 2), np.int64)
        number = np.arange(len(of)) - np.searchsorted(of, of)
        self._runs[of, number] = np.stack([start, stop], axis=1) - self._first[of][:, None]
        self._runs = self._runs.reshape(x.n_experts, n_rows, -1, 2)
        self._drawn = np.flatnonzero(_marked(drawn.histogram, x.shape)[token])
        slot = np.full(n_rows * n_pos, -1)
        slot[n_pos * drawn.entering[:, 0] + drawn.entering[:, 1]] = drawn.slots
        self._slot = slot[token]
        self._entering = np.flatnonzero(self._slot >= 0)
        self._n_rows = n_rows

    def runs(self, e: int) -> RoutedRuns:
        """What the kernels take of one expert."""
        a, b = self.offsets[e], self.offsets[e + 1]
        first = self._first[e * self._n_rows : (e + 1) * self._n_rows + 1] - a
        drawn = _between(self._drawn, a, b)
        position = self._position[a:b]
        return RoutedRuns(self._runs[e], self._n_runs[e], self._rows, self._rank, drawn, first, position, self._text)

    def entering(self, e: int) -> tuple[Int64[np.ndarray, "_"], Int64[np.ndarray, "_"]]:
        """The entries of one expert that enter the sample, and their slots."""
        a, b = self.offsets[e], self.offsets[e + 1]
        own = _between(self._entering, a, b)
        return own, self._slot[own + a]


def _between(ascending: Int64[np.ndarray, "_"], a: int, b: int) -> Int64[np.ndarray, "_"]:
    """The numbers from a to b, counted from a."""
    low, high = np.searchsorted(ascending, (a, b))
    return ascending[low:high] - a


def _marked(drawn: Int64[np.ndarray, "drawn 2"], shape: tuple[int, int]) -> Bool[np.ndarray, "_"]:
    found = np.zeros(shape, bool)
    found[drawn[:, 0], drawn[:, 1]] = True
    return found.ravel()
