"""Examples of one neuron whose text repeats that of a stronger one: the same mail twice, a licence's header.

Two examples are near-duplicates if, with their peaks put on one another, at least `ALIKE` of the tokens that both
windows hold are equal. Fewer than `LEAST` common tokens decide nothing.
Cost: k^2 comparisons of windows a neuron.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from neurolocal.records import Example

ALIKE = 0.8
"""Share of equal tokens from which two windows are near-duplicates."""

LEAST = 8
"""Common tokens that two windows need."""


def repeats(examples: Sequence[Example]) -> list[int | None]:
    """For each example, the index of the first example that it repeats; None where it repeats none.

    Args:
        examples: one neuron's, strongest first.
    """
    alike = near_duplicates(examples)
    if np.count_nonzero(alike) == np.count_nonzero(alike.diagonal()):
        return [None] * len(examples)
    found: list[int | None] = []
    for i, like in enumerate(alike.tolist()):
        found.append(next((j for j in range(i) if found[j] is None and like[j]), None))
    return found


def near_duplicates(examples: Sequence[Example]) -> Bool[np.ndarray, "k k"]:
    """Whether at least `ALIKE` of the tokens around the peaks of two examples are equal, position by position."""
    before = max((e.peak for e in examples), default=0)
    after = max((len(e.tokens) - e.peak for e in examples), default=0)
    none = -1 - np.arange(len(examples), dtype=np.int32)  # outside of a window: equal to nothing in another row
    tokens = np.repeat(none[:, None], before + after, axis=1)
    for row, e in zip(tokens, examples, strict=True):
        row[before - e.peak : before - e.peak + len(e.tokens)] = e.tokens
    there = (tokens >= 0).astype(np.float32)
    common = there @ there.T
    same = tokens[:, None] == tokens[None]
    equal = np.add.reduce(same.view(np.uint8), axis=2, dtype=np.int32)  # faster than a sum of booleans
    return (common >= LEAST) & (equal >= ALIKE * common.astype(np.float64))
