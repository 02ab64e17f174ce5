"""A neuron's activations over the full row of each of its examples; a store holds only windows of them.

Invariant: inside a window the values are the store's, outside they are the subject's. If the two differ by more than
rounding explains, the export stops with an error. A store that was imported from pages has full rows itself.
Cost: one forward pass over the rows that a group of neurons refers to; a group needs at most `MEMORY` bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from neurolocal.collect.replay import FLOOR, TOLERANCE
from neurolocal.errors import StoreError
from neurolocal.records import SIDES, Side, TopK
from neurolocal.store import Store
from neurolocal.subject import Subject
from neurolocal.subject.batches import Gathered, in_batches, upload
from neurolocal.words.counted import counted_positions

MEMORY = 1 << 30
"""Bytes of full rows that are in memory at once, about."""

BATCH = 8
"""Rows a forward pass on a CPU, and in the first on a GPU."""


class LayerSlice(NamedTuple):
    """Some of the chosen neurons of a layer: the `low`th to the `high`th, `high` excluded."""

    layer: int
    low: int
    high: int


class WholeRows(NamedTuple):
    """One neuron's examples over their full rows, strongest first."""

    layer: int
    neuron: int
    """Index within the layer."""
    at: Int64[np.ndarray, "text"]
    """Index of each example's row among the stored rows."""
    position: Int64[np.ndarray, "text"]
    """Of the example in its row."""
    values: Float32[np.ndarray, "text pos"]
    """The activations; undefined beyond a row's length."""


Chosen = Mapping[int, Int64[np.ndarray, "_"]]
"""By layer, the indices of some neurons in the layer's arrays, ascending."""


def imported_rows(store: Store, layer: int, texts: int, chosen: Chosen) -> Iterator[WholeRows]:
    """The rows of the chosen neurons of a layer, as their pages show them."""
    top, neurons = store.top(layer, "largest"), store.neurons(layer)
    for i in chosen[layer].tolist():
        neuron = int(neurons[i])
        used = np.flatnonzero(top.row[i, :texts] >= 0)
        values = store.page_activations(layer, i)[used]
        position = top.position[i, used].astype(np.int64)
        rows = WholeRows(layer, neuron, store.stored_at(top.row[i, used]), position, values)
        _require_inside(store, rows)
        yield rows


def computed_rows(
    store: Store, subject: Subject, chosen: Chosen, *, side: Side, texts: int, progress: Callable[[str], None]
) -> Iterator[WholeRows]:
    """The rows of the chosen neurons, layer by layer: the subject's values, and in the windows the store's.

    Args:
        store: open at the site to export.
        subject: the model that the store was collected from.
        chosen: layers ascending.
        side: which lists.
        texts: examples of each neuron, at most.
        progress: receives the number of rows done, as text.

    Raises:
        StoreError: the store and the subject disagree.
    """
    of_row = min(texts, max((store.k(layer, side) for layer in chosen), default=0)) * store.rows_stored[0].shape[1] * 4
    for parts in groups([(layer, len(some)) for layer, some in chosen.items()], max(MEMORY // max(of_row, 1), 1)):
        which = {part.layer: chosen[part.layer][part.low : part.high] for part in parts}
        lists = {layer: _some_of(store.top(layer, side), some, texts) for layer, some in which.items()}
        at = {layer: store.stored_at(top.row) for layer, top in lists.items()}
        values = _computed(store, subject, which, at, progress=progress)
        for layer, some in which.items():
            yield from _checked(store, layer, some, lists[layer], at[layer], values.pop(layer), side=side)


def groups(sizes: Sequence[tuple[int, int]], room: int) -> Iterator[list[LayerSlice]]:
    """The neurons of all layers in order, in groups of at most `room`.

    Args:
        sizes: pairs of a layer and its number of neurons.
        room: neurons a group, 1 or more.
    """
    group, left = list[LayerSlice](), room
    for layer, n in sizes:
        low = 0
        while low < n:
            high = min(n, low + left)
            group.append(LayerSlice(layer, low, high))
            left -= high - low
            low = high
            if not left:
                yield group
                group, left = [], room
    if group:
        yield group


def _some_of(top: TopK, some: Int64[np.ndarray, "_"], texts: int) -> TopK:
    return TopK(*(x[some, :texts] for x in (top.activation, top.row, top.position, top.window)))


class _RowSlots:
    """The examples of a layer slice over full rows, filled batch by batch."""

    def __init__(self, neurons: Int64[np.ndarray, "neuron"], at: Int64[np.ndarray, "neuron text"], length: int) -> None:
        self.values: np.ndarray = np.zeros((*at.shape, length), np.float32)
        self._order = np.argsort(at, axis=None, kind="stable")
        self.at = at.ravel()[self._order]
        self._neuron = neurons[self._order // max(at.shape[1], 1)]

    def picked(self, x: Tensor, rows: Int64[np.ndarray, "batch"]) -> Tensor:
        """The values of the examples in these rows, from a batch's activations (batch, pos, d_mlp)."""
        which, mine = self._slots(rows)
        row, neuron = upload(np.stack([which, self._neuron[mine]]), x.device)
        return x.transpose(1, 2)[row, neuron]

    def put(self, picked: Float32[np.ndarray, "example pos"], rows: Int64[np.ndarray, "batch"]) -> None:
        """Keep what `picked` gave for the same rows."""
        mine = self._slots(rows)[1]
        self.values.reshape(-1, self.values.shape[2])[self._order[mine], : picked.shape[1]] = picked

    def _slots(self, rows: Int64[np.ndarray, "batch"]) -> tuple[Int64[np.ndarray, "example"], np.ndarray]:
        """The examples in these rows: which of the rows each is in, and where it is in `at`."""
        ends = zip(*(np.searchsorted(self.at, rows, side=side) for side in ("left", "right")), strict=True)
        slots = [np.arange(first, stop) for first, stop in ends]
        return np.repeat(np.arange(len(rows)), [len(one) for one in slots]), np.concatenate(slots)


def _computed(
    store: Store, subject: Subject, which: Chosen, at: Mapping[int, Int64[np.ndarray, "_ _"]],
    *, progress: Callable[[str], None],
) -> dict[int, np.ndarray]:  # fmt: skip
    """The subject's activations (neuron, text, pos) in these rows, by layer; a group has at most one slice a layer."""
    tokens, length = store.rows_stored
    slots = {layer: _RowSlots(store.neurons(layer)[some], at[layer], tokens.shape[1]) for layer, some in which.items()}
    rows = np.unique(np.concatenate([of_layer.at for of_layer in slots.values()]))
    rows = rows[rows >= 0]
    rows = rows[
        np.argsort(-length[rows], kind="stable")
    ]  # rows of similar length share a batch, so there is little padding

    def run(some: Sequence[int]) -> dict[int, np.ndarray]:
        mine, gathered = np.array(some), Gathered()
        batch = torch.from_numpy(tokens[mine, : length[mine].max()].astype(np.int64))

        def reader(layer: int) -> Callable[..., None]:
            return lambda x: gathered.add([(layer, slots[layer].picked(x, mine))])

        subject.read(batch, {layer: reader(layer) for layer in slots}, sites=(store.site,))
        return gathered.arrays()

    done, longest = 0, int(length[rows].max(initial=0))
    for some, found in in_batches(
        subject, rows.tolist(), run, size=BATCH, tokens=longest, doing="computing whole rows"
    ):
        for layer, picked in found.items():
            slots[layer].put(picked, np.array(some))
        done += len(some)
        progress(f"rows {done:,} of {len(rows):,}")
    return {layer: of_layer.values for layer, of_layer in slots.items()}


def _checked(
    store: Store, layer: int, some: Int64[np.ndarray, "neuron"], top: TopK, at: Int64[np.ndarray, "neuron text"],
    values: Float32[np.ndarray, "neuron text pos"], *, side: Side,
) -> Iterator[WholeRows]:  # fmt: skip
    """The neurons of a slice, each compared with the store, with the store's values in the windows."""
    statistics, neurons = store.statistics(layer), store.neurons(layer)
    size = np.maximum(np.abs(statistics.minimum), np.abs(statistics.maximum))
    floor = FLOOR * float(size[np.isfinite(size)].max(initial=0.0))
    tolerance = TOLERANCE.get(store.manifest["config"].get("dtype"), TOLERANCE["float32"])
    for i, which in enumerate(some.tolist()):
        used = np.flatnonzero(top.row[i] >= 0)
        where, position = at[i, used], top.position[i, used].astype(np.int64)
        rows = WholeRows(layer, int(neurons[which]), where, position, values[i, used])
        own = float(size[which])
        limit = tolerance * max(own if np.isfinite(own) else 0.0, floor)
        _require_inside(store, rows)
        _put_windows(store, rows, top.activation[i, used], top.window[i, used], limit)
        if side in SIDES:
            _clip(store, rows, limit, sign=1 if side == "largest" else -1)
        yield rows


def _require_inside(store: Store, rows: WholeRows) -> None:
    """Check that each example lies within its row.

    Raises:
        StoreError: one does not.
    """
    if (rows.position >= store.rows_stored[1][rows.at]).any():
        raise store.checked.bad(f"an example of layer {rows.layer} neuron {rows.neuron} lies beyond the end of its row")


def _put_windows(
    store: Store, rows: WholeRows, activation: Float32[np.ndarray, "text"], window: Float32[np.ndarray, "text window"],
    limit: float,
) -> None:  # fmt: skip
    """Compare the windows with the computed values, then replace these by the windows."""
    places = (rows.position - store.manifest["config"]["before"])[:, None] + np.arange(window.shape[1])
    text, entry = np.nonzero((places >= 0) & (places < store.rows_stored[1][rows.at][:, None]))
    place, kept = places[text, entry], window[text, entry]
    now = rows.values[text, place]
    with np.errstate(invalid="ignore"):
        same = (kept == now) | (np.isnan(kept) & np.isnan(now)) | (np.abs(kept.astype(np.float64) - now) <= limit)
    if not same.all():
        wrong = int(np.argmin(same))
        raise _off(store, rows, int(text[wrong]), int(place[wrong]), f"{kept[wrong]:.6g}", float(now[wrong]))
    rows.values[text, place] = kept
    rows.values[np.arange(len(window)), rows.position] = activation


def _clip(store: Store, rows: WholeRows, limit: float, *, sign: int) -> None:
    """Lower each counted position that rounding put above the example to the example's value."""
    peak = rows.values[np.arange(len(rows.position)), rows.position][:, None]
    tokens, length = store.rows_stored
    counted = counted_positions(
        tokens[rows.at],
        length[rows.at],
        special=store.vocabulary.special,
        config=store.manifest["config"],
        parts=store.parts.take(rows.at),
    )
    with np.errstate(invalid="ignore"):
        above = counted & (sign * rows.values > sign * peak) & np.isfinite(rows.values)
        far = above & (sign * (rows.values.astype(np.float64) - peak) > limit)
    if far.any():
        text, place = (int(x[0]) for x in np.nonzero(far))
        raise _off(store, rows, text, place, f"at most {peak[text, 0]:.6g}", float(rows.values[text, place]))
    np.copyto(rows.values, np.broadcast_to(peak, rows.values.shape), where=above)


def _off(store: Store, rows: WholeRows, text: int, place: int, stored: str, now: float) -> StoreError:
    return StoreError(
        f"exporting {store.path}: {store.site} layer {rows.layer} neuron {rows.neuron}, row "
        f"{store.row_index[rows.at[text]]}, position {place} is {stored} in the store and {now:.6g} on the "
        f"subject: more than rounding explains. Run `neurolocal check {store.path} --replay 100`; if that finds the "
        "same, collect again with this subject."
    )
