"""Where activations are changed, and to what: the jobs of a layer, row by row.

Invariant: a control changes by as much as its neuron does at the same place, so the two differ in direction alone.
Cost: a few dozen numbers a neuron.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

OWN, RANDOM = 0, 1
"""Texts: the neuron's own examples; random positions."""

TEXTS = ("own", "random")


class Place(NamedTuple):
    """A position of a row."""

    row: int
    """Row index in the corpus."""
    position: int
    """Position in the row."""


class Target(NamedTuple):
    """A neuron whose activation is changed."""

    neuron: int
    """Index within the layer."""
    strongest: float
    """Activation of its strongest example."""
    mean: float
    """Mean activation over the corpus."""
    own: Sequence[Place]
    """Peaks of its strongest examples."""


class Jobs(NamedTuple):
    """Changes at the positions of one row and text: one entry a change."""

    slot: Int64[np.ndarray, "job"]
    """Which of the tested neurons."""
    place: Int64[np.ndarray, "job"]
    """Which of its places."""
    position: Int64[np.ndarray, "job"]
    """In the row."""
    change: Int64[np.ndarray, "job"]
    """Index of the change, in the order of `changes`."""
    neuron: Int64[np.ndarray, "job"]
    """The neuron that is changed: the tested one, or one of its controls."""
    control: Int64[np.ndarray, "job"]
    """Which of its controls; -1 for the tested neuron itself."""


def changes(multiples: Sequence[float]) -> list[str]:
    """Names of the changes: `zero`, `mean`, and the multiples in their order."""
    return ["zero", "mean", *(f"x{multiple:g}" for multiple in multiples)]


def jobs(
    slots: Sequence[tuple[int, int, int]], tested: Sequence[Target], controls: Int64[np.ndarray, "neuron control"],
    *, text: int, n_changes: int,
) -> Jobs:  # fmt: skip
    """The changes of some neurons at places in one row.

    Args:
        slots: which tested neuron, which of its places, and the position in the row.
        tested: the neurons.
        controls: of each the random neurons of its layer.
        text: `OWN` or `RANDOM`. Controls get the change that has a p: `zero` of the one, the last of the other.
        n_changes: how many changes there are.
    """
    against = 0 if text == OWN else n_changes - 1
    entries: list[tuple[int, int, int, int, int, int]] = []
    for slot, place, position in slots:
        own = tested[slot].neuron
        entries += [(slot, place, position, change, own, -1) for change in range(n_changes)]
        entries += [
            (slot, place, position, against, int(neuron), i) for i, neuron in enumerate(controls[slot].tolist())
        ]
    return Jobs(*np.array(entries, np.int64).reshape(-1, 6).T)


def values(
    these: Jobs, tested: Sequence[Target], multiples: Sequence[float], activations: Float32[np.ndarray, "job 2"]
) -> Float32[np.ndarray, "job"]:
    """The activation that each job sets.

    Args:
        these: the jobs.
        tested: the neurons.
        multiples: of the strongest example's activation.
        activations: at each job's position the unchanged activation of the tested neuron, and of the changed one.
    """
    targets = np.array([[0.0, t.mean, *(m * t.strongest for m in multiples)] for t in tested], np.float32)
    target = targets[these.slot, these.change]
    return np.where(these.control < 0, target, activations[:, 1] + target - activations[:, 0]).astype(np.float32)
