"""A JSON list of maxima -> a store without examples, which holds each neuron's largest activation.

Invariant: a value that repeats its left neighbour's is kept and marked as not trusted.
Cost: one pass over the list.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from neurolocal.config import sha256
from neurolocal.neuroscope.imports.import_store import ImportedNeuron, import_config, write_import
from neurolocal.neuroscope.imports.layer_builder import NeuronActivations
from neurolocal.neuroscope.imports.result import ImportResult
from neurolocal.neuroscope.imports.row_table import RowTable
from neurolocal.neuroscope.imports.spool import store_folder
from neurolocal.neuroscope.read.maxima import read_maxima
from neurolocal.records import Place, Site


def import_maxima(
    path: Path, out: Path, *, model: str | None, site: Site | None, say: Callable[[str], None]
) -> ImportResult:
    """Read a list of maxima, `[layer][neuron]`, and write a store; each value that is not trusted is a problem.

    Args:
        path: the JSON file.
        out: the store to write; an existing file is replaced.
        model: the model's name; None is the file's name.
        site: where the activations were read; None is `mid` for SoLU models and `post` for others.
        say: receives lines about what was read.

    Raises:
        StoreError: the file is no such list, or the store cannot be written.
    """
    layers = read_maxima(path)
    name = model or path.stem
    where: Site = site or ("mid" if name.lower().startswith("solu") else "post")
    with store_folder(out) as folder, closing(RowTable(folder)) as rows:
        corpus = rows.corpus(set())
    empty = NeuronActivations(np.empty(0, np.int64), np.empty(0, np.int32), np.empty((0, 1), np.float32))
    none = np.empty(0)

    def neuron_of(place: Place, neuron: int) -> ImportedNeuron:
        listed = layers[place[1]]
        return ImportedNeuron(
            empty, np.empty(0, np.int32), none, none, float("nan"),
            maximum=float(listed.activation[neuron]), trusted=bool(listed.trusted[neuron]),
        )  # fmt: skip

    manifest = {
        "subject": {"name": name, "path": "", "sha256": None, "n_layers": len(layers),
                    "d_mlp": [len(layer.activation) for layer in layers], "d_vocab": 0},
        "tokenizer": {"sha256": sha256([]), "bos": None, "eos": None, "size": 0},
        "corpus": {"path": str(path), "n_files": 1, "files": [], "skipped": {}},
        "config": import_config(corpus, {}, sites=[where], k=1),
        "source": {"kind": "maxima", "file": path.name, "tokens": "strings", "own": {}},
    }  # fmt: skip
    places: dict[Place, range] = {(where, i): range(len(layer.activation)) for i, layer in enumerate(layers)}
    write_import(out, manifest, corpus, places, neuron_of)
    doubted = [f"layer {i}, neuron {n}" for i, layer in enumerate(layers) for n in np.flatnonzero(~layer.trusted)]
    problems = [f"{one} repeats its left neighbour's value: it is marked as not to be trusted" for one in doubted]
    result = ImportResult(pages=1, problems=problems)
    result.say_problems(say)
    total = sum(len(layer.activation) for layer in layers)
    say(f"import: {total:,} maxima of {len(layers)} layers, {len(problems):,} not to be trusted; {out}")
    return result
