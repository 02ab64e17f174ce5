"""Quantiles against the values that a histogram was made of; extremes and their limits."""

from __future__ import annotations

import numpy as np
import pytest

from neurolocal.asking.scale import Distribution, read_distributions, read_scale
from neurolocal.records import BINS, histogram_edges


def drawn(values: np.ndarray) -> np.ndarray:
    """The histogram of values, a bin holding its edge that is nearer to 0."""
    edges = histogram_edges()
    at = np.where(values >= 0, np.searchsorted(edges, values, "right"), np.searchsorted(edges, values, "left")) - 1
    return np.bincount(at, minlength=BINS)


def below(values: np.ndarray, asked) -> np.ndarray:
    known = Distribution(drawn(values), float(values.min()), float(values.max()))
    return known.below(np.array(asked, np.float32))


def test_a_quantile_is_the_share_of_the_values_below_to_a_bins_width(rng) -> None:
    values = rng.normal(0.3, 1.2, 20_000).astype(np.float32)
    asked = np.sort(rng.choice(values, 300))
    found, counts = below(values, asked), drawn(values)
    true = np.array([(values < one).mean() for one in asked])
    assert np.abs(found - true).max() < 0.25 * counts.max() / len(values)
    assert (np.diff(found) >= 0).all()


def test_at_an_edge_it_is_exact(rng) -> None:
    values = rng.normal(0, 1, 5_000).astype(np.float32)
    for edge in (-1.0, -0.25, 0.0, 0.5, 1.5):
        assert below(values, [edge])[0] == pytest.approx((values < edge).mean(), abs=1 / 5_000)


def test_the_ends_and_beyond(rng) -> None:
    values = rng.normal(0, 1, 500).astype(np.float32)
    low, high = values.min(), values.max()
    assert below(values, [low, low - 1, -1e9, high, high + 1, 1e9]).tolist() == [0, 0, 0, 1, 1, 1]
    assert np.isnan(below(values, [np.nan])[0])


def test_a_neuron_that_is_mostly_0() -> None:
    values = np.array([0.0] * 90 + [1.6] * 10, np.float32)
    found = below(values, [0.0, 0.9, 1.55, 1.7])
    assert found[0] == 0
    assert found[1] == pytest.approx(0.9)
    assert found[2:].tolist() == [pytest.approx(0.95, abs=0.05), 1.0]
    constant = np.zeros(10, np.float32)
    assert below(constant, [-0.1, 0.0, 0.1]).tolist() == [0, 0, 1]


def test_no_histogram_no_quantile() -> None:
    nothing = Distribution(np.zeros(BINS, np.int64), np.inf, -np.inf)
    assert np.isnan(nothing.below(np.array([1.0], np.float32))).all()


def test_distributions_are_those_of_the_neurons_asked_for(store) -> None:
    s = store.statistics(2)
    for n, one in zip((5, 0, 9), read_distributions(store, 2, [5, 0, 9]), strict=True):
        assert np.array_equal(one.counts, s.histogram[n])
        assert (one.minimum, one.maximum) == (s.minimum[n], s.maximum[n])


def test_extremes_of_the_wrong_sign_or_too_weak_are_none(store, monkeypatch) -> None:
    s = store.statistics(1)
    s.maximum[:3] = [0.0, -1.0, 1e-7]
    s.minimum[:3] = [0.0, 1.0, -2.0]
    monkeypatch.setattr(type(store), "statistics", lambda self, layer: s)
    largest, smallest = read_scale(store, 1, "largest"), read_scale(store, 1, "smallest")
    assert np.isnan(largest.extreme[:3]).all()
    assert np.isfinite(largest.extreme[3:]).any()
    assert np.isnan(smallest.extreme[:2]).all()
    assert smallest.extreme[2] == -2
    assert largest.extremes(np.array([5, 4])).tolist() == pytest.approx(largest.extreme[[5, 4]].tolist(), nan_ok=True)


def test_pages_have_no_quantiles(store, monkeypatch) -> None:
    monkeypatch.setattr(type(store), "imported", True)
    (one,) = read_distributions(store, 1, [1])
    assert np.isnan(one.below(np.ones(4, np.float32))).all()
