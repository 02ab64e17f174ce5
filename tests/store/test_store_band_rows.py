"""The bands of a neuron as a reader sees them, and which of their rows explain."""

from __future__ import annotations

import numpy as np
import pytest

from neurolocal.records import histogram_edges
from neurolocal.store.band_rows import LEAST, WEAKER, Band, BandRow


def band(number: int, n: int) -> Band:
    return Band(number, 1.0, 1.5, 9, [BandRow(row, row + 1, 1.25) for row in range(n)])


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("n", range(6))
def test_a_row_explains_or_scores_and_never_both(number: int, n: int) -> None:
    one = band(number, n)
    explains = [] if one.explains is None else [one.explains]
    assert [*one.scoring, *explains] == list(one.rows)
    assert bool(explains) == (number in WEAKER and n >= LEAST)


def test_a_band_holds_its_lower_end() -> None:
    assert band(0, 1).holds(1.0)
    assert not band(0, 1).holds(1.5)
    assert not band(0, 1).holds(float(np.nextafter(1.0, 0)))


def test_the_weaker_bands_lie_between_half_and_an_eighth() -> None:
    edges = histogram_edges()
    for maximum in (0.9, 1.0, 1.4, 7.3):
        top = int(np.searchsorted(edges, maximum, side="right"))
        low, high = edges[top - WEAKER[-1] - 1], edges[top - WEAKER[0]]
        assert 0.3 <= high / maximum <= 0.75
        assert 0.08 <= low / maximum <= 0.2
