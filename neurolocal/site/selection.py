"""Which layers and neurons of a store a site shows.

Invariant: layers and neurons ascend; every neuron was collected. Cost: 8 bytes a neuron of the site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from neurolocal.errors import StoreError
from neurolocal.store import Store


@dataclass(frozen=True)
class Selection:
    """The neurons of a site, by layer."""

    neurons: Mapping[int, Int64[np.ndarray, "_"]]
    """Layer -> the neurons that have a page, ascending."""
    collected: Mapping[int, int]
    """Layer -> the neurons that were collected."""

    @property
    def layers(self) -> list[int]:
        """The layers, ascending."""
        return list(self.neurons)

    @property
    def whole(self) -> bool:
        """Whether each layer has a page for every collected neuron."""
        return all(len(self.neurons[layer]) == n for layer, n in self.collected.items())

    def at(self, layer: int, neuron: int) -> int | None:
        """Where a neuron is among those of its layer; None if it has no page."""
        neurons = self.neurons.get(layer)
        if neurons is None:
            return None
        at = int(np.searchsorted(neurons, neuron))
        return at if at < len(neurons) and neurons[at] == neuron else None

    def ranges(self) -> list[list[int]]:
        """`[layer, first, last, first, last, …]` of each layer: the neurons as ranges, both ends included."""
        found = []
        for layer, neurons in self.neurons.items():
            breaks = np.flatnonzero(np.diff(neurons) != 1)
            first = neurons[np.concatenate([[0], breaks + 1])] if len(neurons) else neurons
            last = neurons[np.concatenate([breaks, [len(neurons) - 1]])] if len(neurons) else neurons
            found.append([layer, *np.stack([first, last], axis=1).ravel().tolist()])
        return found


def select(
    store: Store, *, layers: Sequence[int] | None = None, neurons: Sequence[int] | None = None, top: int | None = None
) -> Selection:
    """The neurons of a site.

    Args:
        store: an open store.
        layers: these layers alone; None is all collected.
        neurons: these neurons of each layer alone; None is all.
        top: this many neurons of each layer alone, by rank, or in neuron order where a layer has no verdicts.

    Raises:
        StoreError: a layer was not collected, or no chosen layer has any of the neurons.
    """
    found: dict[int, Int64[np.ndarray, "_"]] = {}
    collected: dict[int, int] = {}
    for layer in store.require_layers(layers):
        held = store.neurons(layer)
        collected[layer] = len(held)
        if neurons is not None:
            held = held[np.isin(held, np.array(neurons, np.int64))]
        if top is not None:
            held = np.sort(_by_rank(store, layer, held)[:top])
        found[layer] = held
    if neurons is not None and not any(map(len, found.values())):
        shown = ", ".join(map(str, list(neurons)[:10]))
        raise StoreError(
            f"choosing neurons {shown} of {store.path}: none of the layers {', '.join(map(str, found))} has them. "
            "Choose neurons that were collected; `neurolocal report STORE --json` lists them."
        )
    return Selection(found, collected)


def _by_rank(store: Store, layer: int, neurons: Int64[np.ndarray, "_"]) -> Int64[np.ndarray, "_"]:
    """The neurons by rank, best first; those without a verdict last, in neuron order."""
    table = store.evidence("verdict", layer)
    if table is None or not len(table.neuron):
        return neurons
    rank = np.full(int(max(neurons.max(initial=0), table.neuron.max())) + 1, np.iinfo(np.int64).max)
    rank[table.neuron] = table.rank
    return neurons[np.argsort(rank[neurons], kind="stable")]
