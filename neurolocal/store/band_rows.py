"""The bands of one neuron's activation: the range of each, how many rows fell in it, and a random few of these.

Rows that explain never score: of the bands from half of the maximum down to an eighth (`WEAKER`) the last kept row
explains, where a band has `LEAST`; the others score.
Invariant: from high to low, bands with rows alone. Cost: the bands of a layer are read once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neurolocal.literals import Side
from neurolocal.records import histogram_edges

if TYPE_CHECKING:
    from neurolocal.store import Store

WEAKER = range(2, 6)
"""Bands, half an octave each, of which a row explains."""

LEAST = 3
"""Fewest kept rows of such a band."""


class BandRow(NamedTuple):
    """A row of a band."""

    row: int
    """Row index in the corpus."""
    position: int
    """Of its strongest activation."""
    activation: float
    """That activation."""


@dataclass(frozen=True)
class Band:
    """One band."""

    number: int
    """From 0, which holds the maximum."""
    low: float
    """Activation from which it reaches, included."""
    high: float
    """Activation up to which it reaches, excluded."""
    count: int
    """Rows of the corpus in it."""
    rows: Sequence[BandRow]
    """Some of them at random, in random order."""

    def holds(self, activation: float) -> bool:
        """Whether a row with that strongest activation is in it."""
        return self.low <= activation < self.high

    @property
    def explains(self) -> BandRow | None:
        """The row that explains; None where there is none."""
        return self.rows[-1] if self.number in WEAKER and len(self.rows) >= LEAST else None

    @property
    def scoring(self) -> Sequence[BandRow]:
        """The rows that may score."""
        return self.rows if self.explains is None else self.rows[:-1]


def bands_of(store: Store, layer: int, side: Side) -> Callable[[int], list[Band]]:
    """Neuron -> its bands; none where the store has none, or of another side than `largest`."""
    bands = store.bands(layer) if side == "largest" else None
    if bands is None:
        return lambda neuron: []
    maximum, edges = store.statistics(layer).maximum, histogram_edges()

    def of(neuron: int) -> list[Band]:
        at = store.index_of(layer, neuron)
        if not maximum[at] > 0:
            return []
        top, found = int(np.searchsorted(edges, maximum[at], side="right")), list[Band]()
        for i in np.flatnonzero(bands.count[at]).tolist():
            rows = zip(*(x[at, i].tolist() for x in (bands.row, bands.position, bands.activation)), strict=True)
            kept = [BandRow(*row) for row in rows if row[0] >= 0]
            found.append(Band(i, float(edges[top - i - 1]), float(edges[top - i]), int(bands.count[at, i]), kept))
        return found

    return of
