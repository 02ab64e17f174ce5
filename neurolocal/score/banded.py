"""The bands of a neuron's activation as texts to score on: its whole range, in known proportion.

A text either holds the strongest counted position of its row or it does not. Of the first kind the store says how many
fall in each band (`count`), and of a few at random the activation, which is the text's own maximum.
Invariant: no row of the neuron's list and no row that explains. Cost: one row of the store for each drawn text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Integer

from neurolocal.records import FIRING, Example
from neurolocal.store.band_rows import Band, BandRow


class BandText(NamedTuple):
    """A drawn text."""

    row: BandRow
    start: int
    """Position in the row of its first token."""
    weight: float
    """Texts of the corpus that it stands for."""


def draw_bands(
    bands: Sequence[Band], examples: Sequence[Example], place: Callable[[BandRow], int | None], *, most: float,
    texts: int, explaining: Collection[int],
) -> tuple[list[BandText], list[Band]]:  # fmt: skip
    """At most `texts` texts, dealt evenly over the bands, and the bands that they and the list's examples stand for.

    Args:
        bands: of the neuron.
        examples: its list; those that fire are a stratum of their own.
        place: where the text begins that holds a row's strongest position; None where no text holds it.
        most: activation of the strongest explaining example.
        texts: 0 is none.
        explaining: rows that explain.
    """
    listed = {e.row for e in examples}
    usable = [[r for r in band.scoring if r.row not in listed and r.row not in explaining] for band in bands]
    inside = [[(r, start) for r in some if (start := place(r)) is not None] for some in usable]
    quota, left = [0] * len(bands), texts
    while left and any(q < len(some) for q, some in zip(quota, inside, strict=True)):
        for i, some in enumerate(inside):
            if left and quota[i] < len(some):
                quota[i], left = quota[i] + 1, left - 1
    found, covered = list[BandText](), list[Band]()
    for band, some, texts_in, n in zip(bands, usable, inside, quota, strict=True):
        rest = band.count - sum(band.holds(e.activation) for e in examples if e.activation / most >= FIRING)
        if texts and (rest <= 0 or n or (some and not texts_in)):
            covered.append(band)
        if rest > 0 and n:
            weight = rest * len(texts_in) / len(some) / n
            found += [BandText(row, start, weight) for row, start in texts_in[:n]]
    return found, covered


def covered_position(values: Float32[np.ndarray, "_"], covered: Sequence[Band]) -> int:
    """The strongest position of a random row, where it is in one of these bands; -1 elsewhere. NaN is not counted."""
    if not covered or np.isnan(values).all():
        return -1
    position = int(np.nanargmax(values))
    return position if any(band.holds(float(values[position])) for band in covered) else -1


def activations_of(row: BandRow, start: int, tokens: Integer[np.ndarray, "_"], most: float) -> Float32[np.ndarray, "_"]:
    """Of a band's text: known at the row's strongest position alone, as a share of `most`; NaN elsewhere."""
    values = np.full(len(tokens), np.nan, np.float32)
    values[row.position - start] = row.activation / most
    return values
