"""Writing a store: a new file is written beside the old one, flushed, and renamed over it.

Invariant: at any moment the path holds the complete old store or the complete new one; a failed write leaves the old.
No time stamps are written (HDF5's own are switched off), so equal content gives equal datasets.
Cost: a collection or checkpoint writes the whole state (15.2 kB a neuron at k = 20, and the rows referred to); adding
evidence copies the file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Int64

from neurolocal.errors import StoreError
from neurolocal.files import locked, replacing
from neurolocal.records import MOMENTS, LayerRecord, LogitEffects, PageLists, Place, Sample, Side, Site
from neurolocal.store.datasets import Blocks, put, put_blobs, put_blocks, put_column, put_columns
from neurolocal.store.index import Index, IndexBuilder, KeyTable
from neurolocal.store.write_rows import RowBlocks, StoredRows, put_rows
from neurolocal.words import Vocabulary

FORMAT = "neurolocal-store"
VERSION = 1


@dataclass(frozen=True)
class StoreContent:
    """Everything that a collection writes into a store: a complete one, or a checkpoint."""

    manifest: Mapping[str, Any]
    """Subject, tokenizer, corpus, config, rows, tokens, complete; plain values."""
    layers: Iterable[tuple[Place, LayerRecord]]
    """The record of each layer; an iterator, so that one at a time is in memory."""
    sample: Sample
    """The positions that the layers' samples were read at."""
    rows: Callable[[], StoredRows | RowBlocks]
    """Gives the rows that an example or the sample refers to (or more); called after the layers have been written."""
    token_count: Int64[np.ndarray, "d_vocab"]
    """How often each token occurred at a counted position."""
    vocabulary: Vocabulary
    """The bytes of every token id."""
    rest: Mapping[str, np.ndarray | list[str]] = field(default_factory=dict)
    """What an interrupted run resumes with: the columns of `neurolocal.corpus.rest_arrays`. Empty if complete."""
    pages: Iterable[tuple[Place, PageLists, Blocks]] = ()
    """Of each layer what pages of another site state beyond the record, and the activations over whole rows
    (neuron, k, pos); an iterator. Empty unless the store is imported."""
    problems: Sequence[str] = ()
    """What could not be read of these pages, one line each."""


def write_collected(path: Path, collected: StoreContent) -> None:
    """Write a store, replacing any file at the path.

    Raises:
        StoreError: the disk is full or the folder cannot be written; an old file is unchanged.
    """
    with _replacing(path, copy=False) as file:
        file.attrs["format"], file.attrs["version"] = FORMAT, np.int64(VERSION)
        put_json(file, "manifest", collected.manifest)
        index = IndexBuilder(tuple(collected.manifest["config"]["sites"]))
        indexed = collected.manifest["complete"] and "range" not in collected.manifest
        for (site, layer), record in collected.layers:
            _put_record(file, f"collect/{site}/{layer}", record)
            if indexed:
                index.add((site, layer), record)
            del record  # the next one is made without this one in memory
        rows, small = collected.rows(), len(collected.vocabulary.tokens) <= 1 << 16
        rows = RowBlocks.whole(rows) if isinstance(rows, StoredRows) else rows
        found = index.peaks(collected.vocabulary)
        put_rows(file, rows, dtype="<u2" if small else "<u4", each=found.meet)
        put(file, "corpus/token_count", collected.token_count.astype("<i8"))
        put_blobs(file, "tokenizer/tokens", list(collected.vocabulary.tokens))
        put(file, "tokenizer/special", collected.vocabulary.special.astype("u1"))
        put_columns(file, "sample", vars(collected.sample))
        put_columns(file, "resume", collected.rest)
        for (site, layer), lists, activations in collected.pages:
            columns = {
                name: value.astype("u1") if value.dtype == bool else value for name, value in vars(lists).items()
            }
            put_columns(file, f"neuroscope/{site}/{layer}", columns)
            put_blocks(file, f"neuroscope/{site}/{layer}/activation", activations)
        if collected.problems:
            put_columns(file, "neuroscope", {"problems": list(collected.problems)})
        if indexed:
            _put_index(file, found.index())


def _put_index(file: h5py.File, index: Index) -> None:
    """The index that `find` reads."""
    for by in ("token", "word"):
        keyed: KeyTable = getattr(index, by)
        put(file, f"find/{by}/offsets", keyed.offsets)
        put_columns(file, f"find/{by}", keyed.entries._asdict())
    put_blobs(file, "find/word/text", [word.encode() for word in index.words])


def _put_record(file: h5py.File, base: str, record: LayerRecord) -> None:
    """Everything of one layer."""
    statistics = record.statistics
    for side, top in record.lists.items():
        put_columns(file, f"{base}/{side}", {name: value for name, value in vars(top).items() if value is not None})
    derived = {name: getattr(statistics, name) for name in MOMENTS}
    put_columns(file, f"{base}/statistics", vars(statistics) | derived)
    put(file, f"{base}/sample", record.sample)
    if record.bands is not None:
        put_columns(file, f"{base}/bands", vars(record.bands))
    if record.cases is not None:
        derived = {name: getattr(record.cases, name) for name in ("frequency", "mean")}
        put_columns(file, f"{base}/cases", vars(record.cases) | derived)
    if record.neurons is not None:
        put(file, f"{base}/neuron", record.neurons)
    if record.experts is not None:
        put_columns(file, f"{base}/experts", vars(record.experts))
    if record.effects is not None:
        put_columns(file, f"{base}/logits", vars(record.effects))


def add_evidence(
    path: Path,
    tables: Sequence[tuple[str, int, Side, Any, Mapping[str, Any]]],
    *,
    site: Site,
    manifest: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Add evidence tables to a store; each replaces an older one of the same stage, layer and side.

    Processes that add to one store take turns: each copies what the others have written.

    Args:
        path: the store.
        tables: (stage, layer, side, a table of `records`, what it was made from as plain values).
        site: where the neurons were read.
        manifest: of the store that the tables were made from; None does not compare.
        say: receives a line if another process is writing to the store.

    Raises:
        StoreError: the disk is full or the folder cannot be written, or another store is at the path by now; it is
            unchanged.
    """
    with locked(path, doing="writing", error=StoreError, say=say), _replacing(path, copy=True) as file:
        if manifest is not None:
            _require_same(path, file, manifest, tables[0][0])
        for stage, layer, side, table, inputs in tables:
            base = f"{stage}/{site}/{layer}/{side}"
            _no_links(path, file, base)
            if base in file:
                del file[base]
            group = file.create_group(base)
            put_json(group, "inputs", inputs)
            _put_table(group, table)


def write_effects(path: Path, effects: Mapping[Place, LogitEffects], *, manifest: Mapping[str, Any]) -> None:
    """Add direct logit effects to a store, by site and layer; what else it holds stays as it is.

    Args:
        path: the store.
        effects: what to add.
        manifest: of the store that the effects belong to.

    Raises:
        StoreError: the disk is full or the folder cannot be written, or another store is at the path by now; it is
            unchanged.
    """
    with locked(path, doing="writing", error=StoreError), _replacing(path, copy=True) as file:
        _require_same(path, file, manifest, "collect")
        for (site, layer), one in effects.items():
            base = f"collect/{site}/{layer}/logits"
            _no_links(path, file, base)
            if base in file:
                del file[base]
            put_columns(file, base, vars(one))


def _require_same(path: Path, file: h5py.File, manifest: Mapping[str, Any], stage: str) -> None:
    """Refuse to add what was made from another store.

    Raises:
        StoreError: the manifest of the file is another.
    """
    try:
        same = json.loads(str(file.attrs["manifest"])) == json.loads(json.dumps(dict(manifest)))
    except (KeyError, ValueError):
        same = False
    if not same:
        raise StoreError(
            f"writing {path}: it was collected anew while {stage} was working, so these results are not "
            "written. Run the same command again."
        )


def _put_table(group: h5py.Group, table: Any) -> None:
    for column in dataclasses.fields(table):
        value = getattr(table, column.name)
        if dataclasses.is_dataclass(value):
            _put_table(group.create_group(column.name), value)
        elif isinstance(value, np.ndarray):
            put(group, column.name, value.astype("u1") if value.dtype == bool else value)
        else:
            put_column(group, column.name, [str(text).encode("utf-8", "replace") for text in value])


def put_json(group: h5py.Group, name: str, value: Mapping[str, Any]) -> None:
    """A JSON object as an ASCII attribute: a path may contain bytes that are no UTF-8, and HDF5's strings end at NUL.

    HDF5 has no checksum for the content of a string attribute, so its SHA-256 is a second attribute.
    """
    text = json.dumps(dict(value), sort_keys=True, separators=(",", ":"))
    group.attrs[name] = text
    group.attrs[f"{name}_sha256"] = hashlib.sha256(text.encode()).hexdigest()


def _no_links(path: Path, file: h5py.File, base: str) -> None:
    """Refuse to write through a soft or external link, which may lead into another file."""
    place: Any = file
    for part in base.split("/"):
        if part not in place:
            return
        link = place.get(part, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise StoreError(f"writing {path}: {base} is a link. The store is damaged; collect again.")
        place = place[part]


class _Disk(io.FileIO):
    """A file that remembers its first failed write, ignores later ones, and raises the error in `finish`.

    HDF5 cannot close a file after a failed write: it prints a traceback for every object and keeps the file open.
    """

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write all bytes; after the first failure nothing is written."""
        left = memoryview(data).cast("B")
        while left.nbytes and self.failure is None:
            try:
                left = left[super().write(left) or 0 :]
            except OSError as error:
                self.failure = error
        return len(memoryview(data).cast("B"))

    def truncate(self, size: int | None = None, /) -> int:
        """Set the size, as `write` does."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0

    def finish(self) -> None:
        """Raise the first failure, if there was one.

        Raises:
            OSError: a write failed.
        """
        if self.failure is not None:
            raise self.failure


@contextlib.contextmanager
def _replacing(path: Path, *, copy: bool) -> Generator[h5py.File, None, None]:
    """An HDF5 file that replaces the one at the path when the block succeeds; with `copy` it starts as a copy of it."""
    todo = "The old file is untouched. Free disk space or give another path, and run the same command again."
    if not copy:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, todo=todo, error=StoreError) as beside:
        if copy:
            shutil.copyfile(path, beside)
        # The file format of HDF5 1.10: earlier ones hold no attribute over 64 KiB (a manifest names every file of a
        # corpus) and have no checksums on groups, headers and indices.
        with _Disk(beside, "r+" if copy else "w+") as disk:
            with h5py.File(disk, "r+" if copy else "w", libver=("v110", "v110")) as file:
                yield file
            disk.finish()
