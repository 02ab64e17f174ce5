"""Stores that shared a corpus -> the store of one run. The parts are shards of every n-th batch, or ranges of batches.

Invariant: bit for bit, in any order and grouping of the parts. Nothing is merged that does not belong together.
Cost: reads the lists of every part once, a layer at a time, and its rows a block at a time (`merged_rows`); one part is
open at a time. Memory holds one layer of four parts, 8 bytes a row that the merged lists refer to, and for the whole
collection what its index takes (`store/index.py`). So it does not grow with the number of parts, nor with their rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from neurolocal.collect.merge import merge
from neurolocal.collect.sample import merge_samples
from neurolocal.config import differences
from neurolocal.errors import StoreError
from neurolocal.files import locked
from neurolocal.pipeline.batch_range import range_of
from neurolocal.pipeline.manifest import identity
from neurolocal.pipeline.merged_rows import RowNumbers, merged_rows
from neurolocal.progress import Bar
from neurolocal.records import LayerRecord, Place, Sample, Site
from neurolocal.stage import Say
from neurolocal.store import Store, StoreContent, write_collected

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
    with locked(out, doing="merging into", error=StoreError):
        found = [_Part.read(path) for path in parts]
        _require_complete(found)
        _require_one_run(found)
        ranges = any(range_of(part.manifest) for part in found)
        if ranges:
            found.sort(key=lambda part: _range(part)["begin"]["batches"])
            _require_joined(found, lacks)
        else:
            _require_all_shards(out, found)
        manifest = _joined(found, lacks) if ranges else _manifest(found)
        config, paths = manifest["config"], [part.path for part in found]
        sample, order = found[0].sample, list[Int64[np.ndarray, "sample"]]()
        for part in found[1:]:
            sample, best = merge_samples(sample, part.sample, size=config["sample"], seed=config["seed"])
            order.append(best)
        used, nonfinite = RowNumbers(), dict[Place, int]()
        used.add(sample.row)
        with Store(paths[0]) as first:
            vocabulary = first.vocabulary
        content = StoreContent(
            manifest=manifest,
            layers=_layers(paths, config, order, used, nonfinite, bar=bar),
            sample=sample,
            rows=lambda: merged_rows(paths, used.sorted()),
            token_count=_token_count(paths),
            vocabulary=vocabulary,
        )
        write_collected(out, content)
    say(f"merge: {len(paths)} shards, {manifest['rows']:,} rows, {manifest['tokens']:,} tokens counted; {out}")
    return nonfinite


class _Part(NamedTuple):
    """What the store of a part says of itself."""

    path: Path
    manifest: dict[str, Any]
    sample: Sample

    @staticmethod
    def read(path: Path) -> _Part:
        """From its file."""
        with Store(path) as store:
            return _Part(store.path, store.manifest, store.sample)


def _token_count(paths: Sequence[Path]) -> Int64[np.ndarray, "d_vocab"]:
    """How often each token occurs in all parts."""
    with Store(paths[0]) as store:
        total = store.token_count.copy()
    for path in paths[1:]:
        with Store(path) as store:
            total += store.token_count
    return total


def _require_complete(parts: Sequence[_Part]) -> None:
    for part in parts:
        if not part.manifest["complete"]:
            rows = part.manifest["rows"]
            raise StoreError(
                f"merging {part.path}: it stopped at row {rows:,}. Finish it by running its command again."
            )


def _require_one_run(parts: Sequence[_Part]) -> None:
    first = parts[0]
    for part in parts[1:]:
        differ = differences(_shared(first), _shared(part))
        if differ:
            raise StoreError(
                f"merging {first.path} and {part.path}: they are of different runs ({'; '.join(differ[:4])}). "
                "Give the shards of one collection."
            )


def _require_all_shards(out: Path, parts: Sequence[_Part]) -> None:
    """Refuse shards of every n-th batch that are not all there, each once."""
    of: dict[int, Path] = {}
    for part in parts:
        shard = part.manifest["config"]["shard"]
        if shard in of:
            raise StoreError(f"merging {of[shard]} and {part.path}: both are shard {shard}. Give each shard once.")
        of[shard] = part.path
    shards = parts[0].manifest["config"]["shards"]
    missing = sorted(set(range(shards)) - set(of))
    if missing:
        numbers = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        raise StoreError(
            f"merging into {out}: {len(missing)} of {shards} shards are missing: number {numbers}, counted from 0. "
            "Give all of them."
        )


def _range(part: _Part) -> Mapping[str, Any]:
    found = range_of(part.manifest)
    assert found is not None  # parts of both kinds are of different runs
    return found


def _require_joined(parts: Sequence[_Part], lacks: Lacks) -> None:
    """Refuse ranges that overlap, leave a gap that is not among those that are lacking, or were read from two texts."""
    gaps = {one["rows"][0] for one in lacks}
    for a, b in itertools.pairwise(parts):
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


def _joined(parts: Sequence[_Part], lacks: Lacks) -> dict[str, Any]:
    """The manifest of ranges together; that of the whole collection where they hold all of it.

    Raises:
        StoreError: a file that two of them read has changed in between.
    """
    files: dict[str, Any] = {}
    for part in parts:
        for file in part.manifest["corpus"]["files"]:
            if files.setdefault(file["name"], file) != file:
                raise StoreError(
                    f"merging {part.path}: {file['name']} was changed between the parts that read it. Collect again."
                )
    first, last = parts[0].manifest, parts[-1].manifest  # the first alone states what trying the tokenizer found
    begin, end = _range(parts[0])["begin"], _range(parts[-1])
    sums = {name: sum(part.manifest[name] for part in parts) for name in ("rows", "tokens")}
    manifest = first | sums | {"corpus": last["corpus"] | {"files": list(files.values())}, "cursor": last["cursor"]}
    del manifest["range"]
    if lacks:
        return manifest | {"complete": False, "lacks": list(lacks)}
    if begin["batches"] == 0 and end["last"]:
        return manifest
    return manifest | {"range": {"begin": begin, "end": end["end"], "last": end["last"]}}


def _shared(part: _Part) -> dict[str, Any]:
    """What all shards of a run have in common."""
    try:
        found = identity(part.manifest)
        config = {name: value for name, value in found["config"].items() if name != "shard"}
        if found["range"] is not None:
            return found | {"config": config, "range": True, "corpus": None}
        return found | {"config": config, "text": part.manifest["corpus"]["rows_sha256"]}
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"merging {part.path}: its manifest does not state what it was made from ({error})."
        ) from error


def _manifest(parts: Sequence[_Part]) -> dict[str, Any]:
    first = parts[0].manifest
    sums = {name: sum(part.manifest[name] for part in parts) for name in ("rows", "tokens")}
    return first | sums | {"config": first["config"] | {"shard": 0, "shards": 1}}


def _layers(
    parts: Sequence[Path], config: Mapping[str, Any], order: Sequence[Int64[np.ndarray, "sample"]], used: RowNumbers,
    nonfinite: dict[Place, int], *, bar: bool,
) -> Iterator[tuple[Place, LayerRecord]]:  # fmt: skip
    """The merged record of each layer; fills the rows that it uses, and its unreadable activations."""
    for site in config["sites"]:
        with Store(parts[0], site=site) as store:
            layers = store.layers
        for layer in Bar(layers, desc=f"merge: {site}", unit="layer", delay=2, disable=not bar):
            merged = _record(parts[0], site, layer)
            for path, best in zip(parts[1:], order, strict=True):
                merged = merge(merged, _record(path, site, layer), sample=best, seed=config["seed"])
            for top in (*merged.lists.values(), *([merged.bands] if merged.bands else [])):
                used.add(top.row)
            if n := int(merged.unreadable.sum()):
                nonfinite[site, layer] = n
            yield (site, layer), merged
            del merged


def _record(path: Path, site: Site, layer: int) -> LayerRecord:
    """A layer of a part. HDF5 holds some kilobytes of every dataset that stays open, so the file does not."""
    with Store(path, site=site) as store:
        return store.record(layer)
