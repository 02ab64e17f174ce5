"""Texts around positions drawn at random, with the activations of every neuron: what a description is also tried on.

A store holds only single activations at its sampled positions, so the subject reads the rows of some of them again.
Invariant: the texts are the same for all neurons; at the sampled positions the subject's activations are those of the
store, or the export stops with an error. Cost: the texts' rows once through the subject for each `MEMORY` bytes of
activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from neurolocal.collect.replay import FLOOR, TOLERANCE
from neurolocal.errors import StoreError
from neurolocal.store import Store
from neurolocal.subject import Subject
from neurolocal.subject.batches import Gathered, in_batches

MEMORY = 1 << 28
"""Bytes of activations in memory at once, about."""

BATCH = 8
"""Rows a forward pass on a CPU, and in the first on a GPU."""


class RandomText(NamedTuple):
    """The text around one of the sampled positions."""

    entry: int
    """Which entry of `Store.sample` it is."""
    row: int
    """Row index in the corpus."""
    at: int
    """Index of the row among the stored rows."""
    position: int
    start: int
    """Position in the row of the text's first token."""
    stop: int
    """The position behind its last."""


def draw_texts(store: Store, n: int, *, seed: int = 0) -> list[RandomText]:
    """At most n texts around sampled positions, one a row, with windows as examples have them."""
    sample, length, config = store.sample, store.rows_stored[1], store.manifest["config"]
    order = np.random.default_rng(seed).permutation(len(sample.row))
    _, first = np.unique(sample.row[order], return_index=True)
    made = []
    for entry in order[np.sort(first)[:n]].tolist():
        row, position = int(sample.row[entry]), int(sample.position[entry])
        at = int(store.stored_at(np.array([row]))[0])
        start, stop = max(position - config["before"], 0), min(position + config["after"] + 1, int(length[at]))
        made.append(RandomText(entry, row, at, position, start, stop))
    return made


def text_activations(
    store: Store, subject: Subject, layers: Sequence[int], texts: Sequence[RandomText]
) -> Iterator[tuple[int, list[Float32[np.ndarray, "_ neuron"]]]]:
    """For each layer in order, the activations of its neurons over each text.

    Raises:
        StoreError: the store and the subject disagree.
    """
    window = max((text.stop - text.start for text in texts), default=1)
    room = MEMORY // (4 * max(len(texts), 1) * window)
    group, neurons = list[int](), 0
    for layer in layers:
        own = len(store.neurons(layer))
        if group and neurons + own > room:
            yield from _of_group(store, subject, group, texts)
            group, neurons = [], 0
        group.append(layer)
        neurons += own
    yield from _of_group(store, subject, group, texts)


def _of_group(
    store: Store, subject: Subject, layers: Sequence[int], texts: Sequence[RandomText]
) -> Iterator[tuple[int, list[Float32[np.ndarray, "_ neuron"]]]]:
    tokens, length = store.rows_stored
    made: dict[int, list[np.ndarray]] = {layer: [] for layer in layers}

    def run(some: Sequence[RandomText]) -> dict[tuple[int, int], np.ndarray]:
        at, gathered = np.array([text.at for text in some]), Gathered()
        batch = torch.from_numpy(tokens[at, : length[at].max()].astype(np.int64))

        def reader(layer: int) -> Callable[[Tensor], None]:
            def read(x: Tensor) -> None:
                gathered.add([((layer, i), x[i, text.start : text.stop]) for i, text in enumerate(some)])

            return read

        subject.read(batch, {layer: reader(layer) for layer in layers}, sites=(store.site,))
        return gathered.arrays()

    longest = max((int(length[text.at]) for text in texts), default=0)
    doing = "reading random texts"
    for some, found in in_batches(subject, list(texts), run, size=BATCH, tokens=longest, doing=doing):
        for layer in layers:
            made[layer] += [found[layer, i][:, store.neurons(layer)] for i in range(len(some))]
    for layer in layers:
        _require_same(store, layer, texts, made[layer])
        yield layer, made.pop(layer)


def _require_same(
    store: Store, layer: int, texts: Sequence[RandomText], values: Sequence[Float32[np.ndarray, "_ neuron"]]
) -> None:
    """Compare the subject's activations at the sampled positions with the store's.

    Raises:
        StoreError: one differs by more than rounding explains.
    """
    statistics, stored = store.statistics(layer), store.sampled(layer)
    size = np.maximum(np.abs(statistics.minimum), np.abs(statistics.maximum))
    floor = FLOOR * float(size[np.isfinite(size)].max(initial=0.0))
    tolerance = TOLERANCE.get(store.manifest["config"].get("dtype"), TOLERANCE["float32"])
    limit = tolerance * np.maximum(np.where(np.isfinite(size), size, 0.0), floor)
    for text, of_text in zip(texts, values, strict=True):
        kept, now = stored[:, text.entry].astype(np.float64), of_text[text.position - text.start].astype(np.float64)
        same = (np.abs(kept - now) <= limit) | (kept == now) | (np.isnan(kept) & np.isnan(now))
        wrong = np.flatnonzero(~same)
        if len(wrong):
            i = int(wrong[0])
            raise StoreError(
                f"exporting {store.path}: layer {layer} neuron {store.neurons(layer)[i]} at position {text.position} "
                f"of row {text.row} is {kept[i]:.6g} in the store and {now[i]:.6g} on the subject: more than rounding "
                "explains. Give the subject that it was collected with."
            )
