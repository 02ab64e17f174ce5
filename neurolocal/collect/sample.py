"""Positions of the corpus drawn at random, the same for every neuron: those whose hash is smallest.

Invariant: the hash of a position depends on the seed, its row and its position in the row alone. So the sample of a
corpus is the same for any batches, shards and interruptions, and two parts merge by keeping the smallest hashes of
both. The histogram counts every position whose hash is under 2^64 / HISTOGRAM_EVERY.
Cost: one hash a counted position; `size` activations a neuron.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt64

from neurolocal.records import HISTOGRAM_EVERY, Sample
from neurolocal.words.repeated import splitmix64


class Draw(NamedTuple):
    """The positions of a batch that go into the histogram and into the sample."""

    histogram: Int64[np.ndarray, "drawn 2"]
    """Row within the batch, and position."""
    entering: Int64[np.ndarray, "entering 2"]
    """The same of the positions that enter the sample."""
    slots: Int64[np.ndarray, "entering"]
    """Slot of the sample in which each replaces what was there."""


class Sampler:
    """The `size` positions with the smallest hashes so far; a position stays in its slot while it is in the sample."""

    def __init__(self, size: int, *, seed: int) -> None:
        """Nothing drawn yet."""
        self.seed, self.used = seed, 0
        self.row, self.position = np.zeros(size, np.int64), np.zeros(size, np.int32)
        self.hash = np.full(size, np.iinfo(np.uint64).max, np.uint64)

    def draw(self, rows: Int64[np.ndarray, "batch"], mask: Bool[np.ndarray, "batch pos"]) -> Draw:
        """Draw from the counted positions of a batch."""
        batch, position = np.nonzero(mask)
        own = hashes(rows[batch], position.astype(np.int32), seed=self.seed)
        some = np.flatnonzero(own < np.uint64(2**64 // HISTOGRAM_EVERY))
        histogram = np.stack([batch[some], position[some]], axis=1)
        size = len(self.hash)
        near = np.flatnonzero(own <= self.hash.max(initial=0)) if self.used == size else np.arange(len(own))
        near = near[np.lexsort((position[near], rows[batch[near]], own[near]))][:size]
        if not len(near):
            return Draw(histogram, np.empty((0, 2), np.int64), np.empty(0, np.int64))
        mine = slice(self.used)
        both = [
            np.concatenate(pair)
            for pair in (
                (self.position[mine], position[near]), (self.row[mine], rows[batch[near]]), (self.hash[mine], own[near])
            )
        ]  # fmt: skip
        order = np.lexsort(both)[:size]
        entering = near[np.sort(order[order >= self.used]) - self.used]
        free = np.setdiff1d(np.arange(size), order[order < self.used])
        slots = free[: len(entering)]
        self.hash[slots], self.row[slots], self.position[slots] = (
            own[entering],
            rows[batch[entering]],
            position[entering],
        )
        self.used = min(size, self.used + len(near))
        return Draw(histogram, np.stack([batch[entering], position[entering]], axis=1), slots)

    def order(self) -> Int64[np.ndarray, "sample"]:
        """The slots ordered by row, then position."""
        return np.lexsort((self.position[: self.used], self.row[: self.used]))

    def snapshot(self) -> Sample:
        """The positions in that order."""
        order = self.order()
        return Sample(self.row[order], self.position[order])

    def restore(self, sample: Sample) -> None:
        """Replace the sample by a snapshot, with slots in its order."""
        self.used = len(sample.row)
        self.row[: self.used], self.position[: self.used] = sample.row, sample.position
        self.hash[:] = np.iinfo(np.uint64).max
        self.hash[: self.used] = hashes(sample.row, sample.position, seed=self.seed)


def merge_samples(a: Sample, b: Sample, *, size: int, seed: int) -> tuple[Sample, Int64[np.ndarray, "sample"]]:
    """The sample of both parts together, and the index of each of its positions in a's followed by b's."""
    row, position = np.concatenate([a.row, b.row]), np.concatenate([a.position, b.position])
    best = np.lexsort((position, row, hashes(row, position, seed=seed)))[:size]
    best = best[np.lexsort((position[best], row[best]))]
    return Sample(row[best], position[best]), best


def hashes(row: Int64[np.ndarray, "n"], position: Int32[np.ndarray, "n"], *, seed: int) -> UInt64[np.ndarray, "n"]:
    """splitmix64(splitmix64(splitmix64(seed) xor row) xor position), as FORMAT.md says."""
    first = splitmix64(np.array([seed % 2**64], np.uint64))
    return splitmix64(splitmix64(first ^ row.astype(np.uint64)) ^ position.astype(np.uint64))
