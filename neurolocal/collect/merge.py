"""Two snapshots of a layer -> one, as if both corpora parts had been read in one run.

Invariant: associative and commutative, bit for bit: lists compete by (activation, lower row, lower position), counts
add, sums add as integers (`exact`). Rows of the two parts must be disjoint.
"""

from __future__ import annotations

import numpy as np

from neurolocal.collect import exact
from neurolocal.collect.state import LayerSnapshot
from neurolocal.records import SIDES, Side, Statistics, TopK


def merge(a: LayerSnapshot, b: LayerSnapshot) -> LayerSnapshot:
    """The snapshot of both parts together."""
    return LayerSnapshot(
        {side: merge_lists(a.lists[side], b.lists[side], side) for side in SIDES},
        merge_statistics(a.statistics, b.statistics),
    )


def merge_lists(a: TopK, b: TopK, side: Side) -> TopK:
    """The k strongest of two lists a neuron."""
    k = a.activation.shape[1]
    both = [np.concatenate(pair, axis=1) for pair in (
        (a.activation, b.activation), (a.row, b.row), (a.position, b.position), (a.window, b.window)
    )]  # fmt: skip
    activation, row, position, window = both
    strength = activation if side == "largest" else -activation
    strength = np.where(row < 0, -np.inf, strength)
    order = np.lexsort((position, row, -strength), axis=1)[:, :k]

    def take(x: np.ndarray) -> np.ndarray:
        return np.take_along_axis(x, order if x.ndim == 2 else order[:, :, None], axis=1)

    return TopK(take(activation), take(row), take(position), take(window))


def merge_statistics(a: Statistics, b: Statistics) -> Statistics:
    """The statistics of both parts together."""
    whole, fraction = a.whole.copy(), a.fraction.copy()
    exact.add_parts(whole, fraction, b.whole, b.fraction)
    return Statistics(
        count=a.count + b.count,
        whole=whole,
        fraction=fraction,
        minimum=np.minimum(a.minimum, b.minimum),
        maximum=np.maximum(a.maximum, b.maximum),
        positive=a.positive + b.positive,
        nonfinite=a.nonfinite + b.nonfinite,
    )
