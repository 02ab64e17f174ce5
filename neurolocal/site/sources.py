"""What the pages read of a store, kept for the pages that follow: layers with their tables, and blocks of examples.

Invariant: nothing is kept that grows with the number of pages made; a page does not depend on what is kept.
Cost: a layer is read once while it is among the last `LAYERS` used, the examples of a neuron with those of its block.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float32

from neurolocal.literals import Side
from neurolocal.records import Example
from neurolocal.render.windows import Windows
from neurolocal.report.facts import subject_name
from neurolocal.report.layer import Layer, read_layer
from neurolocal.store import Store

BLOCK = 64
"""Neurons whose examples are read together."""

BLOCKS = 8
"""Blocks that are kept."""


@dataclass(frozen=True)
class Block:
    """The examples of consecutive neurons of a layer."""

    first: int
    """Where its first neuron is in the arrays of the layer."""
    lists: dict[Side, list[list[Example]]]
    """By side: the examples of each neuron, strongest first."""
    sampled: Float32[np.ndarray, "neuron sample"]
    """The activation of each neuron at the sampled positions."""


class Sources:
    """The layers and examples of one store."""

    def __init__(self, store: Store, *, layers: int) -> None:
        """Of an open store, keeping the tables of this many layers."""
        self.store = store
        self.windows = Windows(store.vocabulary)
        self.layer = lru_cache(layers)(self._layer)
        self.block = lru_cache(BLOCKS)(self._block)

    @cached_property
    def subject(self) -> str:
        """Name of the subject."""
        return subject_name(self.store) or "this model"

    @cached_property
    def n_sampled(self) -> int:
        """How many positions were sampled."""
        return len(self.store.sample.row)

    def examples(self, layer: int, at: int) -> tuple[dict[Side, list[Example]], Float32[np.ndarray, "sample"]]:
        """The examples of one neuron by side, and its activation at the sampled positions.

        Args:
            layer: index of the layer.
            at: where the neuron is in the arrays of the layer.
        """
        block = self.block(layer, at // BLOCK)
        here = at - block.first
        return {side: lists[here] for side, lists in block.lists.items()}, block.sampled[here]

    def place(self, row: int) -> int:
        """The number of a stored row, by its row index in the corpus."""
        return int(np.searchsorted(self.store.row_index, row))

    def subset(self, row: int, position: int) -> str:
        """The subset of the corpus in which a position of a stored row lies; empty: none."""
        parts, place = self.store.parts, self.place(row)
        first, stop = int(parts.offsets[place]), int(parts.offsets[place + 1])
        part = first + int(np.searchsorted(parts.position[first:stop], position, side="right")) - 1
        return parts.subsets[parts.subset[part]]

    def _layer(self, layer: int) -> Layer:
        return read_layer(self.store, layer, whole=False)

    def _block(self, layer: int, number: int) -> Block:
        store, chosen = self.store, slice(number * BLOCK, (number + 1) * BLOCK)
        lists = {side: store.example_lists(layer, side, chosen) for side in store.sides(layer)}
        return Block(chosen.start, lists, store.sampled(layer, chosen))
