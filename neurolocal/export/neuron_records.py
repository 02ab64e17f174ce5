"""Neuron records: the JSON form that the package `automated-interpretability` (`neuron_explainer`) reads.

One file a neuron, `neurons/{layer}/{neuron}.json`, so its `get_sorted_layers(DIR)`, `get_sorted_neuron_indices` and
`load_neuron(layer, neuron, "file:///…/DIR/neurons")` read the folder. The names of the fields are that package's.

Invariant: strict JSON; an unknown moment is null. Examples come from the store; random texts, where a subject is given,
from passes over their rows. Cost: one file of some 20 kB a neuron.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from jaxtyping import Float32

from neurolocal.export.folder import DOING, make_folder, open_folder, put_manifest
from neurolocal.export.neurons import NeuronTexts, TextReader
from neurolocal.files import remove_leftovers, replacing
from neurolocal.progress import Bar
from neurolocal.records import MOMENTS, Statistics
from neurolocal.render.figures import strict
from neurolocal.store import Store

if TYPE_CHECKING:
    from neurolocal.subject import Subject

RANDOM = 20
"""Random texts of each neuron: as many as it has examples, usually."""


def export_neuron_records(
    store: Store,
    out: Path,
    *,
    layers: Sequence[int] | None = None,
    subject: Callable[[], Subject] | None = None,
    texts: int = RANDOM,
    bar: bool = True,
) -> int:
    """Write a record of each neuron; how many.

    Args:
        store: open at the site to export.
        out: the folder; made, or added to.
        layers: which; None is all.
        subject: loads the model that the store was collected from; None leaves `random_sample` empty.
        texts: random texts of each neuron, at most.
        bar: whether to draw a progress bar.

    Raises:
        StoreError: no such layer; the subject disagrees with the store; the folder holds another manifest, or cannot be
            written.
    """
    which = store.require_layers(layers)
    path, reader = open_folder(out), TextReader(store)
    total = sum(len(store.neurons(layer)) for layer in which)
    with Bar(total=total, unit="neuron", disable=not bar, delay=2) as progress:
        for layer, random in _random_records(store, reader, which, subject, texts):
            folder, statistics = make_folder(out / "neurons" / str(layer)), store.statistics(layer)
            remove_leftovers(folder)
            for one in reader.neurons(layer):
                record = neuron_record(layer, one, statistics) | {"random_sample": random(one.at)}
                with replacing(folder / f"{one.neuron}.json", durable=False, **DOING) as beside:
                    beside.write_bytes(orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY))
                progress.update()
    put_manifest(path, store, which, "neuron-records")
    return total


def neuron_record(layer: int, one: NeuronTexts, statistics: Statistics) -> dict[str, Any]:
    """One neuron as the package's `NeuronRecord`."""
    return {
        "dataclass_name": "NeuronRecord",
        "neuron_id": {"dataclass_name": "NeuronId", "layer_index": layer, "neuron_index": one.neuron},
        "random_sample": [],
        "random_sample_by_quantile": None,
        "quantile_boundaries": None,
        **{name: strict(float(getattr(statistics, name)[one.at])) for name in MOMENTS},
        "most_positive_activation_records": [activation_record(text.str_tokens, text.values) for text in one.texts],
    }


def activation_record(str_tokens: list[str], values: Float32[np.ndarray, "window"]) -> dict[str, Any]:
    """One text as the package's `ActivationRecord`."""
    return {"dataclass_name": "ActivationRecord", "tokens": str_tokens, "activations": values}


def _random_records(
    store: Store, reader: TextReader, layers: list[int], subject: Callable[[], Subject] | None, n: int
) -> Iterator[tuple[int, Callable[[int], list[dict[str, Any]]]]]:
    """For each layer a function: where a neuron is in the layer's arrays -> its records of random texts."""
    if subject is None:
        yield from ((layer, lambda at: []) for layer in layers)
        return
    from neurolocal.export.random_texts import draw_texts, text_activations

    texts = draw_texts(store, n)
    tokens = store.rows_stored[0]
    strings = [reader.strings[tokens[text.at, text.start : text.stop]].tolist() for text in texts]
    for layer, found in text_activations(store, subject(), layers, texts):
        values = [reader.competing(t.at, t.start, x).T.copy() for t, x in zip(texts, found, strict=True)]
        yield layer, lambda at, v=values: [activation_record(s, x[at]) for s, x in zip(strings, v, strict=True)]
