"""The scores of a layer's descriptions as means over neurons, each with its control.

Invariant: neurons without a figure are left out of its mean. Cost: one bootstrap of 9,999 draws a measure.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neurolocal.records import MEASURES, ScoreTable

LEAST = 3
"""Smallest number of neurons for which a mean has an interval."""


class Mean(NamedTuple):
    """A measure, averaged over the neurons of a layer that have it."""

    measure: str
    """One of `records.MEASURES`."""
    n: int
    """Number of neurons with a value."""
    value: float
    """Mean of the value over these."""
    control: float
    """Mean of the control over the neurons that have a value and a control."""
    above: float
    """Mean of value - control over the same neurons."""
    low: float
    """Lower end of the 95 % bootstrap interval of `above` over neurons; NaN for fewer than `LEAST`."""
    high: float
    """Upper end."""


def means(table: ScoreTable) -> list[Mean]:
    """Every measure, averaged over the neurons of a layer."""
    from scipy.stats import bootstrap

    found = []
    for measure in MEASURES:
        here = np.array([m == measure for m in table.measure], bool)
        value, control = table.value[here].astype(np.float64), table.control[here].astype(np.float64)
        known = ~np.isnan(value)
        if not known.any():
            continue
        both = ~np.isnan(value - control)
        gap = (value - control)[both]
        low = high = np.nan
        if len(gap) >= LEAST and np.ptp(gap) > 0:
            interval = bootstrap((gap,), np.mean, method="percentile", rng=np.random.default_rng(0))
            low, high = interval.confidence_interval
        found.append(
            Mean(
                measure, int(known.sum()), float(value[known].mean()),
                float(control[both].mean()) if both.any() else np.nan,
                float(gap.mean()) if len(gap) else np.nan, float(low), float(high),
            )
        )  # fmt: skip
    return found


def lines(table: ScoreTable) -> list[str]:
    """The means as text, one line a measure."""
    made = []
    for m in means(table):
        line = f"{m.measure.replace('_', ' ')} {m.value:.3f} over {m.n} neurons"
        if m.control == m.control:
            line += f", of another neuron's {m.control:.3f}, above it by {m.above:+.3f}"
        if m.low == m.low:
            line += f" (95 %: {m.low:+.3f} to {m.high:+.3f})"
        made.append(line)
    failed = [text for text in table.said if text and "Error" in text]
    if failed:
        made.append(f"{len(failed)} measures failed, the first: {failed[0]}")
    return made
