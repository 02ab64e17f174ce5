"""The scale of each neuron of a layer, from the store: its extreme activation, its distribution, its verdict.

Invariant: NaN where the store does not say: shares of a neuron that never exceeded `WEAKEST`, quantiles of a store that
was imported from pages, which hold the strongest texts alone.
Cost: both readers read a layer's statistics; of a `Scale` a few numbers a neuron are kept, of a `Distribution` 0.8 KB.
"""

from __future__ import annotations

from collections.abc import Sequence
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


class Distribution(NamedTuple):
    """How active a neuron is over the corpus."""

    counts: Int64[np.ndarray, "bin"]
    """Drawn positions in each bin of `records.histogram_edges`; all 0 where the store holds no histogram."""
    minimum: float
    """Smallest activation over the corpus."""
    maximum: float
    """The largest."""

    def below(self, values: Float32[np.ndarray, "pos"]) -> Float64[np.ndarray, "pos"]:
        """The share of the corpus's positions at which the neuron is less active than each value.

        From the histogram of the store, which holds one position in 16. Within a bin the positions are taken to be
        spread evenly between its edges, or up to the neuron's extreme where that is nearer. NaN for a value that is
        NaN, and without a histogram.
        """
        some = np.flatnonzero(self.counts)
        if not len(some):
            return np.full(len(values), np.nan)
        first, stop = int(some[0]), int(some[-1]) + 1
        edges = np.clip(histogram_edges()[first : stop + 1], self.minimum, self.maximum)
        below = np.concatenate([[0.0], np.cumsum(self.counts[first:stop]) / self.counts.sum()])
        found = np.interp(values.astype(np.float64), edges, below)
        return np.where(values <= self.minimum, 0.0, found)


def read_distributions(store: Store, layer: int, neurons: Sequence[int]) -> list[Distribution]:
    """The distributions of some collected neurons of a layer, in their order."""
    s = store.statistics(layer)
    counts = np.zeros_like(s.histogram) if store.imported else s.histogram
    return [
        Distribution(counts[at].copy(), float(s.minimum[at]), float(s.maximum[at]))
        for at in np.searchsorted(store.neurons(layer), np.array(neurons)).tolist()
    ]


def _texts(table: Any, column: str) -> dict[int, str]:
    """A column of a stage's table by neuron; empty where the stage has not run."""
    return {} if table is None else dict(zip(table.neuron.tolist(), getattr(table, column), strict=True))
