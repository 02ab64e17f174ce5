"""One neuron as a plain object: the report's record of it, its statistics, figures and examples, for programs.

Invariant: strict JSON (unknown figures are null); the names of the fields are stable; tokens stand by id and by text.
Cost: the examples of this neuron, and the tables of its layer.
"""

from __future__ import annotations

import json
from typing import Any

from neurolocal.errors import StoreError
from neurolocal.literals import Side
from neurolocal.records import Example
from neurolocal.render.figures import strict
from neurolocal.report.facts import subject_name
from neurolocal.report.intervals import Interval, intervals
from neurolocal.report.layer import Layer, read_layer
from neurolocal.report.meanings import meanings
from neurolocal.report.repeats import repeats
from neurolocal.report.rows import neuron_row, row_fields
from neurolocal.report.sections import figures
from neurolocal.report.statistics import neuron_statistics
from neurolocal.store import Store


def neuron_object(
    store: Store, layer: int, neuron: int, *, side: Side = "largest", limit: int | None = None
) -> dict[str, Any]:
    """One neuron; arguments as of `show`.

    Raises:
        StoreError: the store does not contain that layer or neuron.
    """
    read = read_neuron(store, layer, neuron, side=side)
    examples, part = read.examples(neuron), read.ranks_by_part.get(neuron, {})
    found = {
        "format": "neurolocal-neuron",
        "version": 1,
        "subject": subject_name(store),
        "site": store.site,
        "side": side,
        **row_fields(neuron_row(read, neuron)),
        "statistics": neuron_statistics(read, neuron)._asdict(),
        "figures": [vars(figure) for figure in figures(read, neuron)],
        "meanings": [one._asdict() for one in meanings(read, neuron)],
        "examples": [
            _example(read, example, same) | {"meaning": part.get(example.rank)}
            for example, same in zip(examples[:limit], repeats(examples), strict=False)
        ],
        "intervals": [_interval(read, interval) for interval in intervals(read, neuron)],
    }  # fmt: skip
    return strict(found)


def neuron_json(
    store: Store, layer: int, neuron: int, *, side: Side = "largest", limit: int | None = None
) -> str:  # fmt: skip
    """`neuron_object` as JSON text, pure ASCII, one line."""
    return json.dumps(neuron_object(store, layer, neuron, side=side, limit=limit), allow_nan=False)


def read_neuron(store: Store, layer: int, neuron: int, *, side: Side) -> Layer:
    """The tables of a neuron's layer.

    Raises:
        StoreError: the store does not contain that layer or neuron.
    """
    store.require_layers([layer])
    read = read_layer(store, layer, side=side, whole=False)
    if neuron not in read.index:
        held = f"{len(read.index):,} of its neurons, {min(read.index, default=0)} to {max(read.index, default=-1)}"
        raise StoreError(f"showing neuron {neuron} of layer {layer}: the store holds {held}")
    return read


def _example(read: Layer, example: Example, same: int | None) -> dict[str, Any]:
    return {
        "rank": example.rank + 1,
        "row": example.row,
        "position": example.position,
        "activation": example.activation,
        "subset": read.subset(example),
        "repeats": None if same is None else same + 1,
        "peak": example.peak,
        "tokens": example.tokens.tolist(),
        "str_tokens": read.store.vocabulary.str_tokens(example.tokens),
        "activations": example.activations.tolist(),
    }


def _interval(read: Layer, interval: Interval) -> dict[str, Any]:
    names = ("row", "position", "activation", "subset", "peak", "tokens", "str_tokens")
    examples = [_example(read, example, None) for example in interval.examples]
    return interval._asdict() | {"examples": [{name: example[name] for name in names} for example in examples]}
