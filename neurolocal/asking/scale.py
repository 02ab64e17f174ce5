"""The scale of each neuron of a layer, from the store: its extreme activation, its distribution, its verdict.

Invariant: NaN where the store does not say: shares of a neuron that never exceeded `WEAKEST`, quantiles of a store that
was imported from pages, which hold the strongest texts alone.
Cost: `read_scale` reads a layer's statistics and two tables, and keeps a few numbers a neuron; `quantiles` reads the
layer's statistics (0.8 KB a neuron) and keeps nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from neurolocal.literals import Side
from neurolocal.records import Experts, histogram_edges
from neurolocal.store import Store

WEAKEST = 1e-6
"""Extreme |activation| under which a neuron has no share: the verdict calls it `dead` (its default)."""


class Scale(NamedTuple):
    """What the store says of each collected neuron of a layer, for one side."""

    neurons: Int64[np.ndarray, "neuron"]
    """Index within the layer of each, ascending."""
    extreme: Float64[np.ndarray, "neuron"]
    """Largest activation over the corpus (smallest, for that side); NaN where there is none, or of the other sign."""
    verdict: dict[int, str]
    """By neuron; of those that have one."""
    description: dict[int, str]
    """By neuron; of those that have one."""
    experts: Experts | None
    """Whose neurons they are; None for a layer without experts."""

    def extremes(self, neurons: Int64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        """The extreme of some collected neurons."""
        return self.extreme[np.searchsorted(self.neurons, neurons)]


def read_scale(store: Store, layer: int, side: Side) -> Scale:
    """The scale of a layer, for `largest` or `smallest`.

    Raises:
        StoreError: the store does not hold that layer.
    """
    store.require_layers([layer])
    if side == "largest":
        extreme, there = store.maxima(layer).activation, 1.0
    else:
        extreme, there = store.statistics(layer).minimum.astype(np.float64), -1.0
        extreme = np.full_like(extreme, np.nan) if store.imported else extreme
    usable = np.isfinite(extreme) & (there * extreme >= WEAKEST)
    return Scale(
        store.neurons(layer),
        np.where(usable, extreme, np.nan),
        _texts(store.evidence("verdict", layer, side), "verdict"),
        _texts(store.evidence("summary", layer, side), "description"),
        store.experts(layer),
    )


def quantiles(
    store: Store, layer: int, neurons: Int64[np.ndarray, "n"], values: Float32[np.ndarray, "pos n"]
) -> Float64[np.ndarray, "pos n"]:
    """The share of the corpus's positions at which each neuron is less active than each value.

    From the histogram of the store, which holds one position in 16. Within a bin the positions are taken to be spread
    evenly between its edges, or up to the neuron's extreme where that is nearer. NaN for a value that is NaN, and for
    a neuron without a histogram.
    """
    if store.imported:
        return np.full(values.shape, np.nan)
    s = store.statistics(layer)
    found = np.full(values.shape, np.nan)
    for column, at in enumerate(np.searchsorted(store.neurons(layer), neurons).tolist()):
        found[:, column] = _below(s.histogram[at], values[:, column], float(s.minimum[at]), float(s.maximum[at]))
    return found


def _below(
    counts: Int64[np.ndarray, "bin"], values: Float32[np.ndarray, "pos"], minimum: float, maximum: float
) -> Float64[np.ndarray, "pos"]:
    """The share of a neuron's drawn positions under each value."""
    some = np.flatnonzero(counts)
    if not len(some):
        return np.full(len(values), np.nan)
    first, stop = int(some[0]), int(some[-1]) + 1
    edges = np.clip(histogram_edges()[first : stop + 1], minimum, maximum)
    below = np.concatenate([[0.0], np.cumsum(counts[first:stop]) / counts.sum()])
    found = np.interp(values.astype(np.float64), edges, below)
    return np.where(values <= minimum, 0.0, found)


def _texts(table: Any, column: str) -> dict[int, str]:
    """A column of a stage's table by neuron; empty where the stage has not run."""
    return {} if table is None else dict(zip(table.neuron.tolist(), getattr(table, column), strict=True))
