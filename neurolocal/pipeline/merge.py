"""Stores that shared a corpus -> the store of one run. The parts are shards of every n-th batch, or ranges of batches.

Invariant: bit for bit, in any order and grouping of the parts. Nothing is merged that does not belong together.
Cost: reads every part once, a layer at a time; memory holds one layer of two parts, the rows that the merged lists
refer to, and the rows of one part. So it does not grow with the number of parts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from tqdm import tqdm

from neurolocal.collect.merge import merge
from neurolocal.collect.sample import merge_samples
from neurolocal.config import differences
from neurolocal.errors import StoreError
from neurolocal.files import locked
from neurolocal.pipeline.batch_range import range_of
from neurolocal.pipeline.manifest import identity
from neurolocal.provenance import Parts
from neurolocal.records import LayerRecord, Place
from neurolocal.stage import Say
from neurolocal.store import Store, StoreContent, StoredRows, write_collected

Lacks = Sequence[Mapping[str, Any]]
"""Ranges that are not among the parts: `rows` (first, and behind the last or None) and `why`, of each."""


def merge_stores(
    out: Path, parts: Sequence[Path], *, say: Say, lacks: Lacks = (), bar: bool = True
) -> dict[Place, int]:  # fmt: skip
    """Merge the parts of a collection into one store; gives the NaN and infinite activations where there are any.

    Ranges that join become a longer range, and the whole collection once they reach from its beginning to its end.

    Args:
        out: the store to write.
        parts: every shard's store, or the stores of ranges, in any order.
        say: receives a line for the user at a time.
        lacks: ranges that cannot be had: the merged store states them, and that it is not complete.
        bar: whether to show progress bars.

    Raises:
        StoreError: `out` is there already, or a part is missing, doubled, not complete, damaged, or of another run.
    """
    if out.exists():
        raise StoreError(f"merging into {out}: the file exists. Give another name, or delete it.")
    with ExitStack() as stack:
        stack.enter_context(locked(out, doing="merging into", error=StoreError))
        stores = [stack.enter_context(Store(path)) for path in parts]
        _require_complete(stores)
        _require_one_run(stores)
        ranges = any(range_of(store.manifest) for store in stores)
        if ranges:
            stores.sort(key=lambda store: _range(store)["begin"]["batches"])
            _require_joined(stores, lacks)
        else:
            _require_all_shards(out, stores)
        manifest = _joined(stores, lacks) if ranges else _manifest(stores)
        parts = [store.path for store in stores]
        config = manifest["config"]
        sample, order = stores[0].sample, list[Int64[np.ndarray, "sample"]]()
        for store in stores[1:]:
            sample, best = merge_samples(sample, store.sample, size=config["sample"], seed=config["seed"])
            order.append(best)
        used, nonfinite = [np.unique(sample.row)], dict[Place, int]()
        write_collected(
            out,
            StoreContent(
                manifest=manifest,
                layers=_layers(parts, config["sites"], order, used, nonfinite, bar=bar),
                sample=sample,
                rows=lambda: _rows(parts, used),
                token_count=np.sum([store.token_count for store in stores], axis=0),
                vocabulary=stores[0].vocabulary,
            ),
        )
    say(f"merge: {len(parts)} shards, {manifest['rows']:,} rows, {manifest['tokens']:,} tokens counted; {out}")
    return nonfinite


def _require_complete(stores: Sequence[Store]) -> None:
    for store in stores:
        if not store.manifest["complete"]:
            rows = store.manifest["rows"]
            raise StoreError(
                f"merging {store.path}: it stopped at row {rows:,}. Finish it by running its command again."
            )


def _require_one_run(stores: Sequence[Store]) -> None:
    first = stores[0]
    for store in stores[1:]:
        differ = differences(_shared(first), _shared(store))
        if differ:
            raise StoreError(
                f"merging {first.path} and {store.path}: they are of different runs ({'; '.join(differ[:4])}). "
                "Give the shards of one collection."
            )


def _require_all_shards(out: Path, stores: Sequence[Store]) -> None:
    """Refuse shards of every n-th batch that are not all there, each once."""
    of: dict[int, Path] = {}
    for store in stores:
        shard = store.manifest["config"]["shard"]
        if shard in of:
            raise StoreError(f"merging {of[shard]} and {store.path}: both are shard {shard}. Give each shard once.")
        of[shard] = store.path
    shards = stores[0].manifest["config"]["shards"]
    missing = sorted(set(range(shards)) - set(of))
    if missing:
        numbers = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        raise StoreError(
            f"merging into {out}: {len(missing)} of {shards} shards are missing: number {numbers}, counted from 0. "
            "Give all of them."
        )


def _range(store: Store) -> Mapping[str, Any]:
    found = range_of(store.manifest)
    if found is None:
        raise StoreError(f"merging {store.path}: it is no range of batches, as the others are. Omit it.")
    return found


def _require_joined(stores: Sequence[Store], lacks: Lacks) -> None:
    """Refuse ranges that overlap, leave a gap that is not among those that are lacking, or were read from two texts."""
    gaps = {one["rows"][0] for one in lacks}
    for a, b in itertools.pairwise(stores):
        end, begin = _range(a)["end"], _range(b)["begin"]
        if begin["batches"] < end["batches"]:
            raise StoreError(f"merging {a.path} and {b.path}: both hold batch {begin['batches']:,}. Give each once.")
        if begin["batches"] > end["batches"] and end["rows"] not in gaps:
            raise StoreError(
                f"merging {a.path} and {b.path}: rows {end['rows']:,} to {begin['rows'] - 1:,} are in neither. "
                "Give all parts."
            )
        if begin["batches"] == end["batches"] and begin != end:
            raise StoreError(
                f"merging {a.path} and {b.path}: the text before row {begin['rows']:,} differs, so the corpus was "
                "changed between them. Collect again."
            )


def _joined(stores: Sequence[Store], lacks: Lacks) -> dict[str, Any]:
    """The manifest of ranges together; that of the whole collection where they hold all of it.

    Raises:
        StoreError: a file that two of them read has changed in between.
    """
    files: dict[str, Any] = {}
    for store in stores:
        for file in store.manifest["corpus"]["files"]:
            if files.setdefault(file["name"], file) != file:
                raise StoreError(
                    f"merging {store.path}: {file['name']} was changed between the parts that read it. Collect again."
                )
    first, last = stores[0].manifest, stores[-1].manifest
    begin, end = _range(stores[0])["begin"], _range(stores[-1])
    sums = {name: sum(store.manifest[name] for store in stores) for name in ("rows", "tokens")}
    manifest = first | sums | {"corpus": last["corpus"] | {"files": list(files.values())}, "cursor": last["cursor"]}
    del manifest["range"]
    if lacks:
        return manifest | {"complete": False, "lacks": list(lacks)}
    if begin["batches"] == 0 and end["last"]:
        return manifest
    return manifest | {"range": {"begin": begin, "end": end["end"], "last": end["last"]}}


def _shared(store: Store) -> dict[str, Any]:
    """What all shards of a run have in common."""
    try:
        found = identity(store.manifest)
        config = {name: value for name, value in found["config"].items() if name != "shard"}
        if found["range"] is not None:
            return found | {"config": config, "range": True, "corpus": None}
        return found | {"config": config, "text": store.manifest["corpus"]["rows_sha256"]}
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"merging {store.path}: its manifest does not state what it was made from ({error})."
        ) from error


def _manifest(stores: Sequence[Store]) -> dict[str, Any]:
    first = stores[0].manifest
    sums = {name: sum(store.manifest[name] for store in stores) for name in ("rows", "tokens")}
    return first | sums | {"config": first["config"] | {"shard": 0, "shards": 1}}


def _layers(
    parts: Sequence[Path], sites: list[Any], order: Sequence[Int64[np.ndarray, "sample"]], used: list[np.ndarray],
    nonfinite: dict[Place, int], *, bar: bool,
) -> Iterator[tuple[Place, LayerRecord]]:  # fmt: skip
    """The merged record of each layer; fills the rows that it uses, and its unreadable activations."""
    for site in sites:
        with ExitStack() as stack:
            stores = [stack.enter_context(Store(path, site=site)) for path in parts]
            for layer in tqdm(stores[0].layers, desc=f"merge: {site}", unit="layer", delay=2, disable=not bar):
                merged = stores[0].record(layer)
                for store, best in zip(stores[1:], order, strict=True):
                    merged = merge(merged, store.record(layer), sample=best)
                rows = np.unique(np.concatenate([top.row.ravel() for top in merged.lists.values()]))
                used.append(rows[rows >= 0])
                if n := int(merged.unreadable.sum()):
                    nonfinite[site, layer] = n
                yield (site, layer), merged


def _rows(paths: Sequence[Path], used: list[np.ndarray]) -> StoredRows:
    """The rows that the merged lists and sample refer to, from all parts, by number; one part at a time is held."""
    wanted = np.unique(np.concatenate(used))
    tokens, length, index, parts = [], [], [], []
    for path in paths:
        with Store(path) as store:
            mine = np.isin(store.row_index, wanted)
            stored, its_length = store.rows_stored
            tokens.append(stored[mine])
            length.append(its_length[mine])
            index.append(store.row_index[mine])
            parts.append(store.parts.take(mine))
        del store, stored
    order = np.argsort(np.concatenate(index))
    return StoredRows(
        np.concatenate(tokens)[order],
        np.concatenate(length)[order],
        np.concatenate(index)[order],
        Parts.concatenate(parts).take(order).columns(),
    )
