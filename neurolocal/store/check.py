"""Is a store complete and consistent? Everything in it is read, and redundant values are compared.

Invariant: a store that a collection wrote has no fault; whatever the file alone proves to be wrong is a fault.
Cost: reads the file twice, the second time mostly from the system's cache; memory is one layer and the stored rows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool

from neurolocal.progress import Bar
from neurolocal.provenance import Parts
from neurolocal.records import CASES, SIDES, TABLES, Site
from neurolocal.store.check_evidence import check_evidence
from neurolocal.store.check_layer import RowLookup, check_layer
from neurolocal.store.faults import Fault, Faults
from neurolocal.store.read import Store
from neurolocal.words.repeated import text_hashes

SLAB = 1 << 26
"""Bytes of a dataset that are read at a time."""

KNOWN = {"rows", "corpus", "tokenizer", "sample", "collect", "resume", "find", "neuroscope"}
"""Groups of the root that FORMAT.md describes."""


LOOKED_AT = ("bytes", "datasets", "rows", "layers", "lists", "examples", "sampled activations", "evidence tables")
"""What `check` counts, in the order of its report."""


@dataclass(frozen=True)
class Report:
    """What `check` read, and what it found."""

    looked_at: dict[str, int]
    """How many of each of `LOOKED_AT`."""
    faults: tuple[Fault, ...]
    """What is wrong; empty for a good store."""
    notes: tuple[str, ...]
    """Remarks that are no faults: groups that this program does not know, a checkpoint."""


def check(path: str | Path, *, progress: bool = True) -> Report:
    """Read a whole store and compare what must agree.

    Args:
        path: the store.
        progress: whether to show a progress bar.

    Raises:
        StoreError: no such file, or not a neurolocal store that this program reads, so there is nothing to check.
    """
    faults, notes, looked = Faults(), list[str](), dict[str, int](dict.fromkeys(LOOKED_AT, 0))
    with Store(path) as store, Bar(desc="check", unit="B", unit_scale=True, disable=not progress) as bar:
        _read_everything(store, faults, notes, looked, bar)
        with faults.reading("/"):
            manifest, sites = store.manifest, store.sites
            notes += _unfinished(manifest)
            rows = _rows(store, faults)
            looked["rows"] = len(store.row_index)
            for site in sites:
                _check_site(store.path, site, rows, faults, notes, looked)
    return Report(looked, tuple(faults.found), tuple(notes))


def _unfinished(manifest: dict[str, Any]) -> list[str]:
    """What of the corpus the store does not hold."""
    if manifest["complete"]:
        return ["a part of a collection, to be merged with the others"] if "range" in manifest else []
    if not (lacks := manifest.get("lacks")):
        return [f"a checkpoint: its collection stopped at row {manifest['rows']:,}"]
    if not isinstance(lacks, list) or not all(isinstance(one, dict) for one in lacks):
        return [f"it lacks parts of the corpus, which it states as {_short(lacks)}"]
    return [f"it lacks rows {_short(one.get('rows'))}: {_short(one.get('why'))}" for one in lacks]


def _read_everything(store: Store, faults: Faults, notes: list[str], looked: dict[str, int], bar: Any) -> None:
    """Read every link and every byte of every dataset; HDF5 compares its checksums on the way."""
    file = store.checked
    bar.total = file.path.stat().st_size
    waiting, seen = [""], set[int]()
    while waiting:
        name = waiting.pop()
        with faults.reading(name or "/"), file.reading(name or "/"):
            place = file.get(name) if name else file.root
            address = h5py.h5o.get_info(place.id).addr  # pyright: ignore[reportAttributeAccessIssue]
            if address in seen:
                faults.add(name, "an object that has a second name", "one name for each object")
                continue
            seen.add(address)
            if isinstance(place, h5py.Group):
                waiting += [f"{name}/{part}".lstrip("/") for part in sorted(place, reverse=True)]
                if not name:
                    notes += [f"unknown group /{part}" for part in sorted(set(place) - KNOWN - set(TABLES))]
                continue
            found = file.dataset(name, None, None)
            size = found.size * found.dtype.itemsize
            step = max(1, SLAB * (len(found) if found.ndim else 1) // max(size, 1))
            with file.reading(name):
                for low in range(0, len(found) if found.ndim else 1, step):
                    bar.update(np.asarray(found[low : low + step] if found.ndim else found[()]).nbytes)
            looked["datasets"] += 1
            looked["bytes"] += size


def _rows(store: Store, faults: Faults) -> RowLookup | None:
    """The stored rows, for comparison with the layers; None where they cannot be read."""
    config, tokens = store.manifest["config"], store.manifest["tokens"]
    with faults.reading("corpus/token_count"):
        total = int(store.token_count.sum())
        if (store.token_count < 0).any() or total != tokens:
            faults.add("corpus/token_count", f"it sums to {total:,}", f"the manifest's {tokens:,} tokens, none below 0")
    with faults.reading("rows/parts"):
        _ = store.parts
    with faults.reading("resume"):
        rest = store.rest()
        if store.manifest["complete"] and rest:
            faults.add("resume", "text for resuming in a complete store", "none")
        ids = rest.get("tokens", np.empty(0))
        faults.where("resume/tokens", ids >= len(store.vocabulary.tokens), "ids of the vocabulary",
                     what="ids beyond it", axes=("token",))  # fmt: skip
    rows = None
    with faults.reading("rows"):
        stored, length = store.rows_stored
        if len(stored) > store.manifest["rows"]:
            faults.add("rows/index", f"{len(stored):,} rows", f"at most the manifest's {store.manifest['rows']:,}")
        counted = _counted(stored, length, config, store.vocabulary.special, store.parts)
        text = text_hashes(stored) if config.get("dedupe") else None
        rows = RowLookup(store.row_index, counted, np.empty(0, np.int64), text)
        with faults.reading("sample"):
            sample = store.sample
            at, there = rows.find(sample.row)
            faults.where("sample/row", ~there, "rows in rows/index", what="rows that are not stored", axes=("entry",))
            out = there & ~rows.counts(at, sample.position)
            faults.where("sample/position", out, "counted positions of their rows", what="positions that are not",
                         axes=("entry",))  # fmt: skip
            size = config.get("sample")
            if isinstance(size, int) and len(sample.row) != min(size, tokens):
                faults.add("sample", f"{len(sample.row):,} positions", f"{min(size, tokens):,}, as the config says")
            rows = dataclasses.replace(rows, sample=rows.keys(at, sample.position))
    return rows


def _counted(
    tokens: Any, length: Any, config: dict[str, Any], special: Bool[np.ndarray, "d_vocab"], parts: Parts
) -> Bool[np.ndarray, "row pos"]:
    """Which positions of the stored rows are counted: see "Rows" in FORMAT.md.

    Deliberately not `words.counted`, which collections use: a check with the same code could not find a mistake in it.
    """
    counted = np.arange(tokens.shape[1])[None] < length[:, None]
    if config.get("skip_special"):
        counted &= ~special[tokens]
    if (roles := config.get("count_roles")) is not None:
        for row in range(len(parts)):
            own = range(int(parts.offsets[row]), int(parts.offsets[row + 1]))
            for part in own:
                end = int(parts.position[part + 1]) if part + 1 in own else tokens.shape[1]
                if parts.subsets[parts.subset[part]].split(" / ")[-1] not in roles:
                    counted[row, int(parts.position[part]) : end] = False
    if config.get("bos") == "prepend":
        counted[:, :1] = bool(config.get("count_bos"))
    return counted


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _check_site(
    path: Path, site: Site, rows: RowLookup | None, faults: Faults, notes: list[str], looked: dict[str, int]
) -> None:
    """The layers of one site, and their evidence."""
    base = f"collect/{site}"
    with Store(path, site=site) as store, faults.reading(base):
        n_layers, wanted = store.manifest["subject"].get("n_layers"), store.manifest["config"].get("layers")
        if wanted is None and isinstance(n_layers, int):
            if store.layers != list(range(len(store.layers))) or len(store.layers) != n_layers:
                faults.add(base, f"layers {_short(store.layers)}", f"{_short(n_layers)} layers, as the manifest says")
        elif wanted is not None and store.layers != wanted:
            faults.add(base, f"layers {_short(store.layers)}", f"{_short(wanted)}, as the manifest says")
        for layer in store.layers:
            with faults.reading(f"{base}/{layer}"):
                check_layer(store, layer, rows, faults, looked)
            looked["layers"] += 1
            for stage in TABLES:
                for side in (*SIDES, *CASES):
                    place = f"{stage}/{site}/{layer}/{side}"
                    with faults.reading(place):
                        table = store.evidence(stage, layer, side)
                        if table is not None:
                            check_evidence(place, table, faults)
                            store.inputs(stage, layer, side)
                            looked["evidence tables"] += 1
        for stage in TABLES:
            with faults.reading(stage):
                if store.checked.has(f"{stage}/{site}"):
                    unknown = {*store.checked.get(f"{stage}/{site}")} - {str(layer) for layer in store.layers}
                    notes += [f"unknown group /{stage}/{site}/{name}" for name in sorted(unknown)]
