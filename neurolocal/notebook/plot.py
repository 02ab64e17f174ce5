"""A neuron's histogram over the corpus, drawn by matplotlib.

The only place in the notebook's objects that imports matplotlib, when a plot is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurolocal.errors import NeurolocalError
from neurolocal.records import histogram_edges
from neurolocal.report.histogram import histogram
from neurolocal.report.layer import Layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THRESHOLD = 2.0**-12
"""|activation| under which the axis is linear: the innermost edge of the bins."""

TICKS = (-1000, -100, -10, -1, -0.1, -0.01, 0, 0.01, 0.1, 1, 10, 100, 1000)
"""Of the axis of activations."""


def plot_histogram(read: Layer, neuron: int, *, title: str, ax: Axes | None = None) -> Axes:
    """Draw the positions in each bin; both axes are logarithmic, the one of activations on both sides of 0.

    Args:
        read: the neuron's layer.
        neuron: index within the layer.
        title: of the plot, as it is (no mathtext).
        ax: where to draw; None makes new axes.

    Raises:
        NeurolocalError: matplotlib is not installed, or no position of the neuron was drawn.
    """
    drawn = histogram(read, neuron)
    if drawn is None:
        raise NeurolocalError(f"plotting {title}: the store holds no histogram of it")
    if ax is None:
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise NeurolocalError(
                f"plotting {title}: matplotlib is not installed. Run: pip install 'neurolocal[notebook]'."
            ) from error
        _, ax = pyplot.subplots(figsize=(6, 2.4), layout="constrained")
    counts = read.statistics.histogram[read.index[neuron]]
    edges = histogram_edges()
    edges[[0, -1]] = 2 * edges[[1, -2]]  # the outermost bins are open; they are drawn an octave wide
    some = np.flatnonzero(counts)
    shown = slice(int(some[0]), int(some[-1]) + 1)
    ax.stairs(counts[shown], edges[shown.start : shown.stop + 1], fill=True)
    ax.set_xscale("symlog", linthresh=THRESHOLD, linscale=0.3)
    low, high = float(edges[shown.start]), float(edges[shown.stop])
    ax.set_xticks([tick for tick in TICKS if low <= tick <= high])
    ax.set_xticks([], minor=True)
    ax.set_yscale("log")
    ax.set_xlabel("activation")
    ax.set_ylabel("positions")
    ax.set_title(title, fontsize="medium", loc="left", parse_math=False)
    return ax
