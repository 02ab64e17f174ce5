"""The rows that each band of activation keeps: a random few of all that fall in it, the same for any order of reading.

A band is a bin of the histogram, half an octave of activation. Every row falls in the band of the neuron's strongest
counted position in it. Of the `N_BANDS` bands from the one with the neuron's maximum downwards each keeps the rows
whose `ranks` are lowest (bottom-k sampling; Cohen and Kaplan 2007, "Summarizing data using bottom-k sketches"). The
ranks are the same for all neurons, so that they draw from few rows.

Invariant: associative and commutative, bit for bit. During a run bin i lies in slot i modulo `N_BANDS`. The maximum
only rises, so a bin within reach of the final maximum was never out of reach, and nothing of it was ever dropped.
Cost: 24 bytes an entry and 8 a band. No windows are kept: they would double the store.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int32, Int64

from neurolocal.records import BINS, N_BANDS, Bands
from neurolocal.words.repeated import splitmix64

NO_RANK = np.iinfo(np.int64).max
"""The rank of an unused entry."""

LOWEST_KEY = (127 - 12) << 1
"""Exponent and first bit of the mantissa of 2^-12, where the histogram's bins begin."""


ENTRY = {"activation": np.nan, "row": -1, "position": -1}
"""The columns of an entry, and what an unused one holds."""


def ranks(row: Int64[np.ndarray, "*n"], *, seed: int) -> Int64[np.ndarray, "*n"]:
    """splitmix64(splitmix64(seed) xor row), less 2^63: a bijection of the row index, so no two rows have the same."""
    first = splitmix64(np.array([seed % 2**64], np.uint64))
    mixed = splitmix64(first ^ np.ascontiguousarray(row).view(np.uint64).ravel()).reshape(row.shape)
    return (mixed ^ np.uint64(1 << 63)).view(np.int64)


def bins_of(activation: Float32[np.ndarray, "*n"]) -> Int32[np.ndarray, "*n"]:
    """The bin of each positive activation, counted from 0; -1 where it is not positive or not finite.

    Bin i is entry `BINS / 2 + i` of `records.histogram_edges`; the first also holds all that is smaller, the last all
    that is larger.
    """
    bits = np.ascontiguousarray(activation, np.float32).view(np.int32)
    found = np.clip((bits >> 22) - LOWEST_KEY, 0, BINS // 2 - 1)
    return np.where((activation > 0) & np.isfinite(activation), found, -1).astype(np.int32)


def slots_of(top: Int32[np.ndarray, "neuron"]) -> Int64[np.ndarray, "neuron band"]:
    """The slot of each band, from the one that holds the maximum downwards, by the maximum's bin."""
    return (top[:, None].astype(np.int64) - np.arange(N_BANDS)) % N_BANDS


def merge_bands(a: Bands, b: Bands, *, top_a: Int32[np.ndarray, "neuron"], top_b: Int32[np.ndarray, "neuron"],
                seed: int) -> Bands:  # fmt: skip
    """The bands of two parts of a corpus that have no row in common.

    Args:
        a, b: of the same neurons.
        top_a, top_b: the bin of each neuron's maximum in that part, -1 where nothing is positive.
        seed: of the collection.
    """
    top = np.maximum(top_a, top_b)
    lowered = [_lowered(part, top - own) for part, own in ((a, top_a), (b, top_b))]
    both = {name: np.concatenate([getattr(part, name) for part in lowered], axis=2) for name in ENTRY}
    rank = np.where(both["row"] < 0, NO_RANK, ranks(both["row"], seed=seed))
    best = np.argsort(rank, axis=2, kind="stable")[:, :, : a.row.shape[2]]
    entries = {name: np.take_along_axis(value, best, axis=2) for name, value in both.items()}
    return Bands(**entries, count=lowered[0].count + lowered[1].count)


def _lowered(bands: Bands, by: Int32[np.ndarray, "neuron"]) -> Bands:
    """The bands counted from a maximum that is `by` bins higher; what is out of reach drops out."""
    source = np.arange(N_BANDS) - by[:, None]
    there = source >= 0
    source = np.where(there, source, 0)
    moved = {
        name: np.where(there[:, :, None], np.take_along_axis(getattr(bands, name), source[:, :, None], axis=1), none)
        for name, none in ENTRY.items()
    }
    moved = {name: value.astype(getattr(bands, name).dtype) for name, value in moved.items()}
    return Bands(**moved, count=np.where(there, np.take_along_axis(bands.count, source, axis=1), 0))
