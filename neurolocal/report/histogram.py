"""The histogram of one neuron's activations, as the views draw it.

A bar is one of the bins of `records.histogram_edges`: half octaves of |activation| on both sides of 0. So the axis is
logarithmic away from 0, and the height of a bar is the logarithm of its count. Counts are of one position in
`records.HISTOGRAM_EVERY`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log1p

import numpy as np

from neurolocal.records import HISTOGRAM_EVERY, histogram_edges
from neurolocal.render.figures import number
from neurolocal.report.layer import Layer

BLOCKS = "▁▂▃▄▅▆▇█"
"""Bars of eight heights, for a terminal."""

WIDTH, HEIGHT = 4, 40
"""A bar's width, and the height of the highest, in units of the drawing."""


@dataclass(frozen=True)
class Histogram:
    """The bins between the first and the last that hold a position."""

    counts: list[int]
    """Positions a bin; the first and the last are never 0."""
    low: float
    """Lower edge of the first bin; may be -inf."""
    high: float
    """Upper edge of the last bin; may be +inf."""
    sampled: int
    """Positions in all bins."""
    negative: int
    """Bins below 0, of those in `counts`."""

    @property
    def heights(self) -> list[float]:
        """The logarithm of 1 + count, of the largest."""
        most = log1p(max(self.counts))
        return [log1p(count) / most for count in self.counts]

    @property
    def text(self) -> str:
        """The bars as one line of text, with the range before and behind."""
        bars = "".join(" " if h == 0 else BLOCKS[min(int(h * len(BLOCKS)), len(BLOCKS) - 1)] for h in self.heights)
        return f"{number(self.low)} {bars[: self.negative]}|{bars[self.negative :]} {number(self.high)}"

    @property
    def path(self) -> str:
        """The bars as the data of one SVG path, `WIDTH` wide each."""
        bars = ((i * WIDTH, h * HEIGHT) for i, h in enumerate(self.heights) if h)
        return "".join(f"M{x} {HEIGHT}v-{round(h, 1):g}h{WIDTH - 1}v{round(h, 1):g}z" for x, h in bars)

    @property
    def width(self) -> int:
        """Width of the drawing."""
        return len(self.counts) * WIDTH

    @property
    def zero(self) -> int:
        """Where 0 lies in the drawing."""
        return self.negative * WIDTH

    @property
    def meaning(self) -> str:
        """What is drawn, in one sentence."""
        return (
            f"{self.sampled:,} positions (one in {HISTOGRAM_EVERY}), activations {number(self.low)} to "
            f"{number(self.high)}; both axes are logarithmic"
        )


def histogram(read: Layer, neuron: int) -> Histogram | None:
    """The histogram of one neuron; None if no position of it was drawn."""
    counts = read.statistics.histogram[read.index[neuron]]
    some = np.flatnonzero(counts)
    if not len(some):
        return None
    first, last, edges = int(some[0]), int(some[-1]) + 1, histogram_edges()
    middle = len(counts) // 2
    return Histogram(
        counts[first:last].tolist(),
        float(edges[first]),
        float(edges[last]),
        int(counts.sum()),
        min(max(middle - first, 0), last - first),
    )


def bins(read: Layer, neuron: int) -> dict[int, int]:
    """Number of a bin of `records.histogram_edges` -> its positions; empty bins are left out."""
    counts = read.statistics.histogram[read.index[neuron]]
    return {int(i): int(counts[i]) for i in np.flatnonzero(counts)}
