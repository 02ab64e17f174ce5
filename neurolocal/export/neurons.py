"""The neurons of a store with their examples, as formats that hold a neuron's texts want them.

Invariant: a value is 0 where an activation did not compete for the lists (a prepended BOS, control tokens that do not
count, other roles) or is not finite; so the largest value of a window is its peak's. Cost: some hundred neurons'
examples and a byte for each stored token in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from neurolocal.export.table import slices
from neurolocal.records import Example
from neurolocal.store import Store
from neurolocal.words.counted import counted_positions

NEURONS = 256
"""Neurons whose examples are read at once."""


class Text(NamedTuple):
    """One example as text."""

    example: Example
    str_tokens: list[str]
    """Text of each token of its window alone; parts of characters are U+FFFD."""
    values: Float32[np.ndarray, "window"]
    """Activation of each, 0 where it does not compete."""


class NeuronTexts(NamedTuple):
    """One neuron and its examples."""

    at: int
    """Where it is in the arrays of its layer."""
    neuron: int
    """Index within the layer."""
    texts: list[Text]
    """Its largest examples, strongest first."""


class TextReader:
    """Reads neurons with their largest examples as text."""

    def __init__(self, store: Store) -> None:
        """A reader of a store."""
        self._store = store
        self._counted = _counted(store)
        self.strings = np.array(store.vocabulary.str_tokens(range(len(store.vocabulary.tokens))), object)
        """The text of each token id alone."""

    def neurons(self, layer: int) -> Iterator[NeuronTexts]:
        """The neurons of a layer, ascending."""
        neurons = self._store.neurons(layer).tolist()
        for part in slices(len(neurons), NEURONS):
            lists = self._store.example_lists(layer, "largest", part)
            for at, examples in enumerate(lists, part.start):
                yield NeuronTexts(at, neurons[at], [self._text(e) for e in examples])

    def competing(
        self, at: int, start: int, activations: Float32[np.ndarray, "window *neuron"]
    ) -> Float32[np.ndarray, "window *neuron"]:
        """The activations of a stored row from a position on, 0 where they do not compete."""
        counted = self._counted[at, start : start + len(activations)]
        counted = counted.reshape(-1, *[1] * (activations.ndim - 1))
        return np.where(counted & np.isfinite(activations), activations, np.float32(0))

    def _text(self, example: Example) -> Text:
        at = int(self._store.stored_at(np.array([example.row]))[0])
        values = self.competing(at, example.start, example.activations)
        return Text(example, self.strings[example.tokens].tolist(), values)


def _counted(store: Store) -> Bool[np.ndarray, "row pos"]:
    """Which positions of the stored rows compete."""
    tokens, length = store.rows_stored
    config, special = store.manifest["config"], store.vocabulary.special
    return counted_positions(tokens, length, special=special, config=config, parts=store.parts)
