"""What programs may read of the store, as plain objects: its facts, a layer, a neuron, the neurons of a token.

Invariant: each is valid strict JSON, with the names of `report --json` and `find --json`. None of them holds a path of
this machine. Cost: `neuron` reads a neuron's examples, and the tables of its layer the first time.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from neurolocal.errors import StoreError
from neurolocal.records import TABLES, Side
from neurolocal.render.figures import strict
from neurolocal.report.layer import Layer
from neurolocal.report.rows import neuron_row, row_object
from neurolocal.site.reader import OpenStore
from neurolocal.store import find
from neurolocal.store.checked import DamagedError


class AbsentError(LookupError):
    """The store has no such layer, neuron or list."""


def store_facts(opened: OpenStore, more: dict[str, Any]) -> dict[str, Any]:
    """The subject, the size of the collection, the layers with their sides and the stages that have run; and more."""
    store, m = opened.store, opened.store.manifest
    subject = {name: m["subject"].get(name) for name in ("name", "sha256", "architecture", "n_layers", "n_ctx")}
    layers = [
        {
            "layer": layer,
            "neurons": len(store.neurons(layer)),
            "sides": store.sides(layer),
            "stages": [stage for stage in TABLES if store.inputs(stage, layer) is not None],
        }
        for layer in store.layers
    ]
    size = {name: m[name] for name in ("rows", "tokens", "complete")}
    return strict(
        {"subject": subject, **size, "site": store.site, "sites": list(store.sites), "layers": layers, **more}
    )


def layer_neurons(opened: OpenStore, layer: int, side: Side) -> dict[str, Any]:
    """The neurons of a layer by rank: neuron, rank, verdict, description and the scores of its evidence.

    Raises:
        AbsentError: the store has no such layer or side.
    """
    read = _layer(opened, layer, side)
    neurons = [
        {
            "neuron": neuron,
            "rank": int(read.figure("verdict", "rank", neuron)) + 1 if read.has("verdict", neuron) else None,
            "verdict": read.text("verdict", "verdict", neuron),
            "description": read.text("summary", "description", neuron) or "",
            "score": read.figure("verdict", "score", neuron),
            "similarity": read.figure("similarity", "score", neuron),
            "perturbation": read.figure("perturbation", "score", neuron),
        }
        for neuron in read.ranked()
    ]
    return strict({"layer": layer, "side": side, "neurons": neurons})


def neuron(opened: OpenStore, layer: int, index: int, side: Side) -> dict[str, Any]:
    """One neuron: the record of `report --json`, and its examples with tokens and activations, strongest first.

    Raises:
        AbsentError: the store has no such layer, side or neuron.
    """
    read, vocabulary = _layer(opened, layer, side), opened.store.vocabulary
    if index not in read.index:
        raise AbsentError(f"layer {layer} of the store has no neuron {index}")
    examples = [
        {
            "row": e.row,
            "position": e.position,
            "activation": e.activation,
            "start": e.start,
            "peak": e.peak,
            "ids": e.tokens.tolist(),
            "tokens": vocabulary.str_tokens(e.tokens.tolist()),
            "activations": e.activations.tolist(),
            "subset": read.subset(e),
        }
        for e in read.examples(index)
    ]
    return strict({**row_object(neuron_row(read, index)), "side": side, "examples": examples})


def neurons_of(opened: OpenStore, text: str, word: bool, limit: int) -> dict[str, Any]:
    """The neurons whose examples peak on a token (or word), as `find` gives them.

    Raises:
        AbsentError: no neuron of the store peaks on it.
    """
    try:
        found = find(opened.store, text, limit=limit, word=word)
    except DamagedError:
        raise
    except StoreError as error:
        raise AbsentError(str(error).replace(str(opened.store.path), "the store")) from error
    return strict({"neurons": [asdict(one) for one in found]})


def _layer(opened: OpenStore, layer: int, side: Side) -> Layer:
    """The tables of a layer.

    Raises:
        AbsentError: the store has no such layer, or not this side of it.
    """
    if layer not in opened.store.layers:
        raise AbsentError(f"the store has no layer {layer}")
    if side not in opened.store.sides(layer):
        raise AbsentError(f"layer {layer} of the store has no list {side}")
    return opened.layer(layer, side)
