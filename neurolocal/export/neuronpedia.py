"""Neuronpedia's import files: JSON lines of its tables, as its `/api/admin/import` reads them.

A layer is one of its sources, `{model}/{source}/`: `model.jsonl`, `sourceset.jsonl`, `source.jsonl`, and in batches of
1,024 neurons `features/`, `activations/` and `explanations/batch-N.jsonl.gz`. The names of the fields are the columns
of its database; columns that are not here have their default there.

Invariant: all lines of a file have the same keys, which its importer requires; numbers are finite; text holds no NUL,
which PostgreSQL cannot store. Equal stores give equal files. Cost: one batch of neurons in memory.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

import orjson

from neurolocal.errors import ConfigError
from neurolocal.export.folder import DOING, make_folder, open_folder, put_manifest
from neurolocal.export.neuronpedia_lines import LayerLines, Source
from neurolocal.export.neurons import TextReader
from neurolocal.files import replacing
from neurolocal.progress import Bar
from neurolocal.render.visible import plain
from neurolocal.store import Store

BATCH = 1024
"""Neurons a file."""

CREATOR = "clkht01d40000jv08hvalcvly"
"""The user that a Neuronpedia of one's own begins with; public activations are this user's."""

LINE_ENDS = ("\x85", "\u2028", "\u2029")
"""Characters that JSON leaves as they are and some readers of lines do not."""

MODEL = re.compile(r"[a-z0-9_-]{1,128}")
"""What Neuronpedia accepts as a model's id."""


def export_neuronpedia(
    store: Store,
    out: Path,
    *,
    layers: Sequence[int] | None = None,
    model: str | None = None,
    creator: str = CREATOR,
    bar: bool = True,
) -> int:
    """Write the neurons of a store; how many.

    Args:
        store: open at the site to export.
        out: the folder; made, or added to.
        layers: which; None is all.
        model: its id there; None is made from the subject's name.
        creator: the id of a user of that Neuronpedia.
        bar: whether to draw a progress bar.

    Raises:
        ConfigError: no id that Neuronpedia accepts.
        StoreError: no such layer; the folder holds another manifest, or cannot be written.
    """
    which = store.require_layers(layers)
    name = _model_id(store, model)
    path, reader = open_folder(out), TextReader(store)
    subject = str(store.manifest["subject"].get("sha256"))
    corpus = plain(PurePath(str(store.manifest["corpus"].get("path") or "")).name) or "unknown"
    total = sum(len(store.neurons(layer)) for layer in which)
    with Bar(total=total, unit="neuron", disable=not bar, delay=2) as progress:
        for layer in which:
            source = Source(name, layer, store.site, creator, corpus, subject)
            folder = out / name / source.id
            for part in ("features", "activations", "explanations"):
                make_folder(folder / part)
            _put_facts(store, source, folder)
            lines = LayerLines(store, source)
            neurons, number = reader.neurons(layer), 0
            while some := list(islice(neurons, BATCH)):
                for part, made in lines.batch(some).items():
                    _put_lines(folder / part / f"batch-{number}.jsonl.gz", made)
                number += 1
                progress.update(len(some))
            _remove_later(folder, number)
    put_manifest(path, store, which, "neuronpedia")
    return total


def _model_id(store: Store, model: str | None) -> str:
    """The given id, or one made from the subject's name."""
    name = str(store.manifest["subject"].get("name") or "model")
    found = model if model is not None else re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:128] or "model"
    if not MODEL.fullmatch(found):
        raise ConfigError(
            f"exporting {store.path}: the model {found!a} is no id of Neuronpedia; expected at most 128 small letters, "
            "digits, dashes and underscores. Give another --model."
        )
    return found


def _put_facts(store: Store, source: Source, folder: Path) -> None:
    """The lines of the model, the source set and the source."""
    subject = store.manifest["subject"]
    layers, sizes = subject.get("n_layers"), subject.get("d_mlp")
    about = f"MLP neurons ({source.site}), collected by neurolocal"
    facts = {
        "model": {
            "id": source.model,
            "instruct": False,
            "displayName": source.model,
            "displayNameShort": source.model,
            "owner": source.model,
            "layers": layers if isinstance(layers, int) else len(store.layers),
            "neuronsPerLayer": max(sizes) if isinstance(sizes, list) and sizes else len(store.neurons(source.layer)),
        },
        "sourceset": {
            "modelId": source.model,
            "name": source.set,
            "description": about,
            "creatorName": "neurolocal",
        },
        "source": {
            "id": source.id,
            "modelId": source.model,
            "setName": source.set,
            "dataset": source.corpus,
            "num_prompts": store.manifest["rows"],
            "num_tokens_in_prompt": store.manifest["config"].get("row_length"),
            "notes": about,
        },
    }
    for name, line in facts.items():
        with replacing(folder / f"{name}.jsonl", **DOING) as beside:
            beside.write_bytes(_json(line | {"creatorId": source.creator, "visibility": "PUBLIC"}) + b"\n")


def _remove_later(folder: Path, number: int) -> None:
    """Remove the batches from a number on: they are of an earlier export with more neurons."""
    for path in folder.glob("*/batch-*.jsonl.gz"):
        found = path.name.removeprefix("batch-").removesuffix(".jsonl.gz")
        if found.isdecimal() and int(found) >= number:  # others are not of an export
            path.unlink()


def _put_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write lines, compressed; a batch without lines has no file."""
    if not lines:
        return path.unlink(missing_ok=True)
    with replacing(path, **DOING) as beside:
        beside.write_bytes(gzip.compress(b"\n".join(map(_json, lines)) + b"\n", compresslevel=5, mtime=0))
    return None


def _json(line: dict[str, Any]) -> bytes:
    """A line without NULs, which are U+FFFD here, and with no character in it that a reader may end a line at."""
    text = orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"\\u0000" in text:
        text = orjson.dumps(_without_nul(orjson.loads(text)))
    for char in LINE_ENDS:
        text = text.replace(char.encode(), f"\\u{ord(char):04x}".encode())
    return text


def _without_nul(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nul(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
