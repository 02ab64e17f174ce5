"""The texts of a store that are compared with a subject, and the store's rows in the subject's token ids.

Invariant: a row is cut before its first token with no known id, and at the end of the subject's context.
Cost: each row is resolved once a tokenizer; 4 bytes a position of each text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from neurolocal.collect.replay import FLOOR
from neurolocal.neuroscope.replay.token_ids import TokenResolver
from neurolocal.store import Store
from neurolocal.subject import Subject

ROUNDED = 1e-6
"""Error of a page's values: six decimals, then float32."""


class StoreText(NamedTuple):
    """One text of a store."""

    layer: int
    neuron: int
    """Index within the layer."""
    rank: int
    row: int
    """Its data index."""
    position: int
    """Position of the peak."""
    values: Float32[np.ndarray, "pos"]
    """Activations over the row; NaN where the store has none."""
    scale: float
    """The neuron's largest |activation|, at least the share `FLOOR` of its layer's."""


def texts_of(store: Store, seed: int) -> Iterator[StoreText]:
    """The texts of a store in a random order that takes the layers in turn, and each neuron once before any twice."""
    tops = {layer: (store.top(layer, "largest"), store.neurons(layer)) for layer in store.layers}
    places = [
        (layer, at, rank)
        for layer, (top, _) in tops.items()
        for at, rank in zip(*(a.tolist() for a in np.nonzero(top.row >= 0)), strict=True)
    ]
    scales = {}
    for layer, (top, _) in tops.items():
        peaks = np.abs(np.where(top.row >= 0, top.activation, 0)).max(axis=1, initial=0)
        scales[layer] = np.maximum(peaks, FLOOR * peaks.max(initial=0))
    before, width = store.manifest["config"]["before"], store.rows_stored[0].shape[1]
    for layer, at, rank in _spread(places, seed):
        top, neurons = tops[layer]
        row, position = int(top.row[at, rank]), int(top.position[at, rank])
        if store.imported:
            values = store.page_activations(layer, at)[rank].copy()  # a view would keep the neuron's whole block
        else:
            values = np.full(width, np.nan, np.float32)
            first = position - before
            low, high = max(first, 0), min(first + top.window.shape[2], width)
            values[low:high] = top.window[at, rank, low - first : high - first]
        yield StoreText(layer, int(neurons[at]), rank, row, position, values, float(scales[layer][at]) or 1.0)


def _spread(places: list[tuple[int, int, int]], seed: int) -> list[tuple[int, int, int]]:
    """(layer, neuron, rank) in a random order in which every beginning is spread over layers and neurons."""
    drawn, keyed = Counter[tuple[int, int]](), list[tuple[int, int, tuple[int, int, int]]]()
    for i in np.random.default_rng(seed).permutation(len(places)).tolist():
        layer, at, _ = places[i]
        turn = drawn[layer, at]
        drawn[layer, at] += 1
        keyed.append((turn, layer, places[i]))
    order = list[tuple[int, int, tuple[int, int, int]]]()
    seen = Counter[int]()
    for _, layer, place in sorted(keyed, key=lambda one: one[0]):
        order.append((seen[layer], layer, place))
        seen[layer] += 1
    return [place for _, _, place in sorted(order, key=lambda one: one[:2])]


class SubjectRows:
    """The store's rows in the token ids of subjects."""

    def __init__(self, store: Store) -> None:
        """No row is resolved yet."""
        self.store = store
        config = store.manifest["config"]
        self.counts_bos = bool(config.get("count_bos")) or config.get("bos") != "prepend"
        self.rounded = ROUNDED if store.imported else 0.0
        self._resolvers: dict[str, TokenResolver] = {}
        self._rows: dict[tuple[str, int], Int64[np.ndarray, "_"]] = {}

    def resolver(self, subject: Subject) -> TokenResolver:
        """The resolver of the subject's tokenizer."""
        name = subject.tokenizer_facts()["sha256"]
        if name not in self._resolvers:
            vocabulary = self.store.vocabulary
            self._resolvers[name] = TokenResolver(subject, vocabulary.str_tokens(range(len(vocabulary.tokens))))
        return self._resolvers[name]

    def of(self, subject: Subject, row: int) -> Int64[np.ndarray, "_"]:
        """The ids of a row, up to the first unknown one."""
        name = subject.tokenizer_facts()["sha256"]
        if (name, row) not in self._rows:
            tokens = self.store.row(row)
            own = name == self.store.manifest["tokenizer"].get("sha256")
            found = tokens.astype(np.int64)
            if not own:
                resolved = self.resolver(subject).resolve(tokens)
                found = resolved.ids[: resolved.known]
            self._rows[name, row] = found
        return self._rows[name, row][: subject.n_ctx]
