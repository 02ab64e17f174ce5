"""What the pages read of a store, kept for the pages that follow: layers with their tables, and blocks of examples.

Invariant: nothing is kept that grows with the number of pages made; a page does not depend on what is kept.
Cost: a layer is read once while it is among the last `LAYERS` used, the examples of a neuron with those of its block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float32

from neurolocal.literals import Side
from neurolocal.records import Example
from neurolocal.render.windows import Windows
from neurolocal.report.facts import subject_name
from neurolocal.report.layer import Layer, read_layer
from neurolocal.site.peak_words import PeakWords
from neurolocal.store import Store

BLOCK = 64
"""Neurons whose examples are read together."""

BLOCKS = 8
"""Blocks that are kept."""


@dataclass(frozen=True)
class NeuronExamples:
    """One neuron's examples of one side."""

    examples: list[Example]
    """Strongest first."""
    places: list[int]
    """The number of each one's row among the stored rows."""
    subsets: list[str]
    """The subset of the corpus in which each one's peak lies; empty: none."""


@dataclass(frozen=True)
class Block:
    """The examples of consecutive neurons of a layer."""

    first: int
    """Where its first neuron is in the arrays of the layer."""
    lists: Mapping[Side, list[NeuronExamples]]
    """By side: the examples of each neuron."""
    sampled: Float32[np.ndarray, "neuron sample"]
    """The activation of each neuron at the sampled positions."""


class Sources:
    """The layers and examples of one store."""

    def __init__(self, store: Store, *, layers: int, block: int = BLOCK) -> None:
        """Of an open store, keeping the tables of this many layers and reading so many neurons' examples together."""
        self.store, self._size = store, block
        self.windows = Windows(store.vocabulary)
        self.words = PeakWords(store)
        self.layer = lru_cache(layers)(self._layer)
        self.block = lru_cache(BLOCKS)(self._block)
        self._sides = lru_cache(layers)(store.sides)

    @cached_property
    def subject(self) -> str:
        """Name of the subject."""
        return subject_name(self.store) or "this model"

    @cached_property
    def n_sampled(self) -> int:
        """How many positions were sampled."""
        return len(self.store.sample.row)

    def examples(self, layer: int, at: int) -> tuple[dict[Side, NeuronExamples], Float32[np.ndarray, "sample"]]:
        """The examples of one neuron by side, and its activation at the sampled positions.

        Args:
            layer: index of the layer.
            at: where the neuron is in the arrays of the layer.
        """
        block = self.block(layer, at // self._size)
        here = at - block.first
        return {side: lists[here] for side, lists in block.lists.items()}, block.sampled[here]

    def place(self, row: int) -> int:
        """The number of a stored row, by its row index in the corpus."""
        return int(self.store.row_index.searchsorted(row))

    def _layer(self, layer: int) -> Layer:
        return read_layer(self.store, layer, whole=False)

    def _block(self, layer: int, number: int) -> Block:
        store, chosen = self.store, slice(number * self._size, (number + 1) * self._size)
        lists: dict[Side, list[NeuronExamples]] = {
            side: list(self._listed(store.example_lists(layer, side, chosen))) for side in self._sides(layer)
        }
        return Block(chosen.start, lists, store.sampled(layer, chosen))

    def _listed(self, lists: list[list[Example]]) -> Iterator[NeuronExamples]:
        """The example lists with the places and subsets of their examples, found for all of them at once."""
        parts = self.store.parts
        rows, positions = (
            np.array([getattr(e, n) for one in lists for e in one], np.int64) for n in ("row", "position")
        )
        place = self.store.row_index.searchsorted(rows)
        subset = parts.subset[parts.at(place, positions)] if len(place) else place
        names, places, numbers = parts.subsets, place.tolist(), subset.tolist()
        at = 0
        for examples in lists:
            mine = slice(at, at + len(examples))
            yield NeuronExamples(examples, places[mine], [names[number] for number in numbers[mine]])
            at = mine.stop
