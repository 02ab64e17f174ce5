"""The statistics of one neuron over the corpus, as the views print them.

Invariant: NaN if the neuron was finite nowhere. Statistics of an imported store cover only the positions on its pages.
"""

from __future__ import annotations

from math import nan
from typing import NamedTuple

from neurolocal.records import THRESHOLDS
from neurolocal.render.figures import percent
from neurolocal.report.layer import Layer


class NeuronStatistics(NamedTuple):
    """A neuron's activation over the counted positions of the corpus."""

    finite: int
    """Positions with a finite activation."""
    nonfinite: int
    """Positions with NaN or an infinity; 0 of an imported store, where the other positions are unknown. Positions that
    were not routed to the neuron's expert are not among them."""
    positions: str
    """The number of positions as text."""
    mean: float = nan
    deviation: float = nan
    """Standard deviation."""
    minimum: float = nan
    maximum: float = nan
    positive: float = nan
    """Share of the finite positions with activation > 0."""
    above: tuple[float, ...] = ()
    """Share of the finite positions with activation > each of `THRESHOLDS`."""
    skewness: float = nan
    kurtosis: float = nan


def neuron_statistics(read: Layer, neuron: int) -> NeuronStatistics:
    """The statistics of one neuron of a layer."""
    s, at = read.statistics, read.index[neuron]
    nonfinite = int(s.nonfinite[at])
    finite, imported = s.count - nonfinite, read.store.imported
    positions = f"{finite:,} positions, all that its page shows" if imported else f"{s.count:,} positions"
    if imported:
        nonfinite = 0
    if read.experts is not None:
        routed = int(read.experts.count[read.experts.of(neuron)[0]])
        nonfinite -= s.count - routed
        if routed < s.count:
            share = percent(routed / s.count)
            positions = f"{routed:,} of {s.count:,} positions, the {share} that were routed to its expert"
    if not finite:
        return NeuronStatistics(finite, nonfinite, positions)
    return NeuronStatistics(
        finite,
        nonfinite,
        positions,
        mean=float(s.mean[at]),
        deviation=float(s.variance[at]) ** 0.5,
        minimum=float(s.minimum[at]),
        maximum=float(s.maximum[at]),
        positive=int(s.positive[at]) / finite,
        above=tuple(int(s.above[i, at]) / finite for i in range(len(THRESHOLDS))),
        skewness=float(s.skewness[at]),
        kurtosis=float(s.kurtosis[at]),
    )
