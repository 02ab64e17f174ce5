"""Stores that shared a corpus (`collect --shard I/N`) -> the store that one run would have made.

Invariant: bit for bit, in any order of the parts. Nothing is merged that does not belong together.
Cost: reads every part once, a layer of each at a time; memory holds one layer of two parts and the rows referred to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from neurolocal.pipeline.manifest import identity
from neurolocal.provenance import Parts
from neurolocal.records import LayerRecord, Place
from neurolocal.stage import Say
from neurolocal.store import Store, StoreContent, StoredRows, write_collected


def merge_stores(out: Path, parts: Sequence[Path], *, say: Say) -> None:
    """Merge all shards of a collection into one store.

    Args:
        out: the store to write.
        parts: every shard's store, in any order.
        say: receives a line for the user at a time.

    Raises:
        StoreError: `out` is there already, or a part is missing, doubled, not complete, damaged, or of another run.
    """
    if out.exists():
        raise StoreError(f"merging into {out}: the file exists. Give another name, or delete it.")
    with ExitStack() as stack:
        stack.enter_context(locked(out, doing="merging into", error=StoreError))
        stores = [stack.enter_context(Store(path)) for path in parts]
        _belong_together(out, stores)
        manifest = _manifest(stores)
        config = manifest["config"]
        sample, order = stores[0].sample, list[Int64[np.ndarray, "sample"]]()
        for store in stores[1:]:
            sample, best = merge_samples(sample, store.sample, size=config["sample"], seed=config["seed"])
            order.append(best)
        used: list[np.ndarray] = [np.unique(sample.row)]
        write_collected(
            out,
            StoreContent(
                manifest=manifest,
                layers=_layers(parts, config["sites"], order, used),
                sample=sample,
                rows=lambda: _rows(stores, used),
                token_count=np.sum([store.token_count for store in stores], axis=0),
                vocabulary=stores[0].vocabulary,
            ),
        )
    say(f"merge: {len(parts)} shards, {manifest['rows']:,} rows, {manifest['tokens']:,} tokens counted; {out}")


def _belong_together(out: Path, stores: Sequence[Store]) -> None:
    """Refuse parts that are not the shards of one run, each once and complete."""
    first = stores[0]
    of: dict[int, Path] = {}
    for store in stores:
        config = store.manifest["config"]
        if not store.manifest["complete"]:
            rows = store.manifest["rows"]
            raise StoreError(
                f"merging {store.path}: it stopped at row {rows:,}. Finish it by running its command again."
            )
        differ = differences(_shared(first), _shared(store))
        if differ:
            raise StoreError(
                f"merging {first.path} and {store.path}: they are of different runs ({'; '.join(differ[:4])}). "
                "Give the shards of one collection."
            )
        shard = config["shard"]
        if shard in of:
            raise StoreError(f"merging {of[shard]} and {store.path}: both are shard {shard}. Give each shard once.")
        of[shard] = store.path
    shards = first.manifest["config"]["shards"]
    missing = sorted(set(range(shards)) - set(of))
    if missing:
        raise StoreError(
            f"merging into {out}: of {shards} shards {', '.join(map(str, missing[:8]))} are missing. Give all of them."
        )


def _shared(store: Store) -> dict[str, Any]:
    """What all shards of a run have in common."""
    try:
        found = identity(store.manifest)
        config = {name: value for name, value in found["config"].items() if name != "shard"}
        return found | {"config": config, "text": store.manifest["corpus"]["rows_sha256"], "shard": None}
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"merging {store.path}: its manifest does not state what it was made from ({error})."
        ) from error


def _manifest(stores: Sequence[Store]) -> dict[str, Any]:
    first = stores[0].manifest
    sums = {name: sum(store.manifest[name] for store in stores) for name in ("rows", "tokens")}
    return first | sums | {"config": first["config"] | {"shard": 0, "shards": 1}}


def _layers(
    parts: Sequence[Path], sites: list[Any], order: Sequence[Int64[np.ndarray, "sample"]], used: list[np.ndarray]
) -> Iterator[tuple[Place, LayerRecord]]:
    for site in sites:
        with ExitStack() as stack:
            stores = [stack.enter_context(Store(path, site=site)) for path in parts]
            for layer in tqdm(stores[0].layers, desc=f"merge: {site}", unit="layer", delay=2):
                merged = stores[0].record(layer)
                for store, best in zip(stores[1:], order, strict=True):
                    merged = merge(merged, store.record(layer), sample=best)
                rows = np.unique(np.concatenate([top.row.ravel() for top in merged.lists.values()]))
                used.append(rows[rows >= 0])
                yield (site, layer), merged


def _rows(stores: Sequence[Store], used: list[np.ndarray]) -> StoredRows:
    """The rows that the merged lists and sample refer to, from all parts, by number."""
    wanted = np.unique(np.concatenate(used))
    tokens, length, index, parts = [], [], [], []
    for store in stores:
        mine = np.isin(store.row_index, wanted)
        stored, its_length = store.rows_stored
        tokens.append(stored[mine])
        length.append(its_length[mine])
        index.append(store.row_index[mine])
        parts.append(store.parts.take(mine))
    order = np.argsort(np.concatenate(index))
    return StoredRows(
        np.concatenate(tokens)[order],
        np.concatenate(length)[order],
        np.concatenate(index)[order],
        Parts.concatenate(parts).take(order).columns(),
    )
