"""What the figures draw: a few columns of each layer, read once.

Invariant: values that were not measured (NaN) are left out of a column, so its length is the number that was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from neurolocal.literals import Side
from neurolocal.report.rows import layer_verdicts
from neurolocal.report.sections import SCORES
from neurolocal.store import Store

Column = Float64[np.ndarray, "_"]

STAGES = {
    "similarity": ("score", "null_mean", "p", "q"),
    "perturbation": ("half", "control_half", "p", "q"),
}
"""Stage -> the figure, its null, its p and its q."""


@dataclass
class PlotData:
    """Columns by layer; a layer without a stage is not in the stage's dictionaries."""

    site: str
    """Where in the MLP the neurons were read."""
    verdicts: dict[int, dict[str, int]] = field(default_factory=dict)
    """Layer -> verdict -> neurons."""
    maxima: dict[int, Column] = field(default_factory=dict)
    """Layer -> the largest activation of each neuron that has one."""
    stages: dict[str, dict[int, dict[str, Column]]] = field(default_factory=lambda: {stage: {} for stage in STAGES})
    """Stage -> layer -> column of `STAGES` -> values."""
    scores: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    """Measure -> values and controls, over all layers."""


def read_plot_data(store: Store, layers: list[int], *, side: Side) -> PlotData:
    """The columns of some layers."""
    data = PlotData(store.site)
    for layer in layers:
        found = store.maxima(layer).activation
        data.maxima[layer] = found[np.isfinite(found)]
        counts = layer_verdicts(store, layer, side=side).counts
        if counts:
            data.verdicts[layer] = counts
        for stage, columns in STAGES.items():
            table = store.evidence(stage, layer, side)
            if table is not None:
                data.stages[stage][layer] = {name: _known(getattr(table, name)) for name in columns}
        _add_scores(data, store.evidence("score", layer, side))
    return data


def _known(values: np.ndarray) -> Column:
    return values[np.isfinite(values)].astype(np.float64)


def _add_scores(data: PlotData, table: object) -> None:
    """Add a layer's scores of the measures that the report shows."""
    if table is None:
        return
    columns = (getattr(table, name) for name in ("measure", "value", "control"))
    for measure, value, control in zip(*columns, strict=True):
        if measure in SCORES and np.isfinite(value):
            values, controls = data.scores.setdefault(measure, ([], []))
            values.append(float(value))
            if np.isfinite(control):
                controls.append(float(control))
