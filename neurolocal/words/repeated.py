"""What names the text that an activation depends on, so that lists can hold each text once (`dedupe`).

Invariant: a function of the last `CONTEXT` tokens up to a position and of nothing else, so it does not depend on where
a row begins (but for positions nearer than that to its beginning), on batches or on shards.
Cost: `CONTEXT` passes over the tokens of a batch.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64, Integer, UInt64

CONTEXT = 16
"""Tokens, the peak's included, that must be equal for two examples to be the same text."""


def splitmix64(z: UInt64[np.ndarray, "*shape"]) -> UInt64[np.ndarray, "*shape"]:
    """Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"."""
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def text_hashes(tokens: Integer[np.ndarray, "row pos"]) -> Int64[np.ndarray, "row pos"]:
    """The hash of the last `CONTEXT` tokens up to each position.

    h = 0; for each of these tokens, the earliest first, h = splitmix64(h xor token), where a position before the row's
    beginning stands for the token 2^64 - 1. See FORMAT.md.
    """
    n_rows, n_pos = tokens.shape
    padded = np.full((n_rows, CONTEXT - 1 + n_pos), np.uint64(2**64 - 1), np.uint64)
    padded[:, CONTEXT - 1 :] = tokens
    h = np.zeros((n_rows, n_pos), np.uint64)
    for i in range(CONTEXT):
        h = splitmix64(h ^ padded[:, i : i + n_pos])
    return h.view(np.int64)
