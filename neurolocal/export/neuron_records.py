"""Neuron records: the JSON form that the package `automated-interpretability` (`neuron_explainer`) reads.

One file a neuron, `neurons/{layer}/{neuron}.json`, so its `get_sorted_layers(DIR)`, `get_sorted_neuron_indices` and
`load_neuron(layer, neuron, "file:///…/DIR/neurons")` read the folder. The names of the fields are that package's.

Invariant: strict JSON; an unknown moment is null. Cost: one file of some 20 kB a neuron.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from tqdm import tqdm

from neurolocal.export.folder import DOING, make_folder, open_folder, put_manifest
from neurolocal.export.neurons import NeuronTexts, Text, TextReader
from neurolocal.files import replacing
from neurolocal.records import Statistics
from neurolocal.render.figures import strict
from neurolocal.store import Store

MOMENTS = ("mean", "variance", "skewness", "kurtosis")


def export_neuron_records(
    store: Store, out: Path, *, layers: Sequence[int] | None = None, bar: bool = True
) -> int:  # fmt: skip
    """Write a record of each neuron; how many.

    Args:
        store: open at the site to export.
        out: the folder; made, or added to.
        layers: which; None is all.
        bar: whether to draw a progress bar.

    Raises:
        StoreError: no such layer; the folder holds another manifest, or cannot be written.
    """
    which = store.require_layers(None if layers is None else list(layers))
    written, path, reader = 0, open_folder(out), TextReader(store)
    total = sum(len(store.neurons(layer)) for layer in which)
    with tqdm(total=total, unit="neuron", disable=not bar, delay=2) as progress:
        for layer in which:
            folder, statistics = make_folder(out / "neurons" / str(layer)), store.statistics(layer)
            for one in reader.neurons(layer):
                record = neuron_record(layer, one, statistics)
                with replacing(folder / f"{one.neuron}.json", durable=False, **DOING) as beside:
                    beside.write_bytes(orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY))
                written += 1
                progress.update()
    put_manifest(path, store, which, "neuron-records")
    return written


def neuron_record(layer: int, one: NeuronTexts, statistics: Statistics) -> dict[str, Any]:
    """One neuron as the package's `NeuronRecord`."""
    return {
        "dataclass_name": "NeuronRecord",
        "neuron_id": {"dataclass_name": "NeuronId", "layer_index": layer, "neuron_index": one.neuron},
        "random_sample": [],
        "random_sample_by_quantile": None,
        "quantile_boundaries": None,
        **{name: strict(float(getattr(statistics, name)[one.at])) for name in MOMENTS},
        "most_positive_activation_records": [activation_record(text) for text in one.texts],
    }


def activation_record(text: Text) -> dict[str, Any]:
    """One example as the package's `ActivationRecord`."""
    return {"dataclass_name": "ActivationRecord", "tokens": text.str_tokens, "activations": text.values}
