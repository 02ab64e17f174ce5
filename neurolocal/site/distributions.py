"""Charts of many neurons at once: histograms of a layer's figures, and their quantiles over the layers.

Invariant: figures that were not measured (NaN) are left out; a chart without a figure is not made. Cost: one sort a
chart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from neurolocal.records import Statistics
from neurolocal.render.figures import histogram_range, number
from neurolocal.report.layer import Layer

BARS = 40
"""Bars of a histogram."""

HEIGHT = 60
"""Of a drawing, in its units."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles of a chart over the layers."""


class Distribution(NamedTuple):
    """The distribution of one figure over the neurons of a layer."""

    name: str
    meaning: str
    bars: str
    """The data of one SVG path, `BARS` wide and `HEIGHT` high."""
    null: str
    """The outline of the nulls' distribution, in the same units of area; empty if the figure has none."""
    low: str
    """The figure at the left edge."""
    high: str
    n: int
    """Neurons that have the figure."""
    median: str


@dataclass(frozen=True)
class Bands:
    """The quantiles of one figure over the layers: 5 to 95 %, 25 to 75 %, and the median."""

    name: str
    meaning: str
    outer: str
    """The data of SVG paths, one unit a layer and `HEIGHT` high; the vertical axis is logarithmic."""
    inner: str
    middle: str
    width: int
    low: str
    """The figure at the lower edge."""
    high: str
    first: int
    """First layer."""
    last: int


STATISTICS: dict[str, tuple[str, str, Callable[[Statistics], Float[np.ndarray, "neuron"]]]] = {
    "maximum": ("largest activation", "Each neuron's largest activation over the corpus.", lambda s: s.maximum),
    "positive": (
        "share of positions above 0.5",
        "How often each neuron's activation is above 0.5.",
        lambda s: s.above[1] / np.maximum(s.count - s.nonfinite, 1),
    ),
    "kurtosis": (
        "kurtosis",
        "How far each neuron's activations are concentrated in few positions; 3 is a normal distribution.",
        lambda s: s.kurtosis,
    ),
}
"""Name, meaning and values of the statistics that are charted over the layers."""

COLUMNS = (
    ("verdict", "score", "", "score", "The verdict's score, by which neurons are ranked."),
    ("similarity", "score", "null_mean", "coherence", "Mean similarity of the peak words; dashed: random words."),
    (
        "perturbation",
        "half",
        "control_half",
        "neighbours keep half",
        "Share of near words that keep half of the activation; dashed: random controls.",
    ),
)
"""Stage, column, column of the null, name, meaning of the figures that are charted of a layer."""


def layer_distributions(read: Layer) -> list[Distribution]:
    """The charts of one layer."""
    made = []
    for stage, column, null, name, meaning in COLUMNS:
        table = read.tables[stage]
        if table is not None:
            nulls = getattr(table, null) if null else np.empty(0)
            made.append(_distribution(getattr(table, column), nulls, name, meaning))
    made += [_distribution(values(read.statistics), np.empty(0), *names) for *names, values in STATISTICS.values()]
    return [one for one in made if one is not None]


def layer_bands(statistics: Mapping[int, Statistics]) -> list[Bands]:
    """The charts over the layers; empty with fewer than two."""
    made = []
    for name, meaning, values in STATISTICS.values():
        rows = {layer: quantiles for layer, s in statistics.items() if (quantiles := _quantiles(values(s))) is not None}
        if len(rows) > 1:
            made.append(_bands(name, meaning, list(rows), np.array(list(rows.values()))))
    return made


def _distribution(
    values: Float[np.ndarray, "neuron"], nulls: Float[np.ndarray, "_"], name: str, meaning: str
) -> Distribution | None:  # fmt: skip
    values, nulls = (v[np.isfinite(v)].astype(np.float64) for v in (values, nulls))
    if not values.size:
        return None
    both = np.concatenate([values, nulls])
    low, high = histogram_range(*np.quantile(both, (0.005, 0.995)).tolist(), bins=BARS)
    counts, other = (np.histogram(v.clip(low, high), BARS, (low, high))[0] for v in (values, nulls))
    most = max(counts.max() / len(values), other.max() / max(len(nulls), 1), 1e-9)
    bars, line = (HEIGHT * c / max(len(v), 1) / most for c, v in ((counts, values), (other, nulls)))
    path = "".join(f"M{i} {HEIGHT}v-{h:.1f}h.8v{h:.1f}z" for i, h in enumerate(bars.tolist()) if h)
    outline = (
        f"M0 {HEIGHT}" + "".join(f"V{HEIGHT - h:.1f}h1" for h in line.tolist()) + f"V{HEIGHT}" if len(nulls) else ""
    )
    median = number(float(np.median(values)))
    return Distribution(name, meaning, path, outline, number(low), number(high), len(values), median)


def _quantiles(values: Float[np.ndarray, "neuron"]) -> Float64[np.ndarray, "5"] | None:
    known = values[np.isfinite(values)].astype(np.float64)
    return np.quantile(known, QUANTILES) if known.size else None


def _bands(name: str, meaning: str, layers: list[int], rows: Float64[np.ndarray, "layer 5"]) -> Bands:
    positive = rows[rows > 0]
    floor = float(positive.min()) if positive.size else 1.0
    logs = np.log(np.maximum(rows, floor))
    low, high = float(logs.min()), float(logs.max())
    y = HEIGHT - HEIGHT * (logs - low) / ((high - low) or 1.0)

    def line(column: int, order: slice = slice(None)) -> str:
        points = list(enumerate(y[:, column].tolist()))[order]
        return "L".join(f"{x} {value:.1f}" for x, value in points)

    back = slice(None, None, -1)
    share = "share" in name
    return Bands(
        name,
        meaning,
        f"M{line(0)}L{line(4, back)}z",
        f"M{line(1)}L{line(3, back)}z",
        f"M{line(2)}",
        len(layers) - 1,
        _share(low) if share else number(float(np.exp(low))),
        _share(high) if share else number(float(np.exp(high))),
        layers[0],
        layers[-1],
    )


def _share(log: float) -> str:
    """A share from its logarithm, with two digits."""
    return f"{100 * float(np.exp(log)):.2g} %"
