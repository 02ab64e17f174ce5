"""The readers of stores: as every command that only reads does, as a resumed collection does, and as merging does."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing import twins
from fuzzing.hdf5 import mutate
from fuzzing.reader import Reader, silent


def read_store(data: bytes, folder: Path) -> None:
    """Check it, rank it, print neurons, find tokens, write the report."""
    from neurolocal import report
    from neurolocal.store import Store, find
    from neurolocal.store.check import check

    path = folder / "s.h5"
    path.write_bytes(data)
    faults = check(path, progress=False).faults
    assert all("\n" not in str(fault) for fault in faults)
    _each(
        lambda: _with(path, lambda store: find(store, " cat")),
        lambda: _with(path, lambda store: find(store, "the", word=True)),
        lambda: _with(path, lambda store: report.print_table(report.report_rows(store, limit=3), out=io.StringIO())),
        lambda: _with(
            path,
            lambda store: report.show(
                store, store.layers[0], int(store.neurons(store.layers[0])[0]), out=io.StringIO()
            ),
        ),
        lambda: _with(path, lambda store: report.write_page(store, path=folder / "page.html", cards=2)),
        lambda: _with(path, lambda store: json.loads(report.report_json(store, report.report_rows(store)))),
    )
    with Store(path) as store:
        repr(store)


def _with(path: Path, use: Any) -> None:
    from neurolocal.store import Store

    with Store(path) as store:
        use(store)


def _each(*calls: Any) -> None:
    """Make every call, also where an earlier one was refused."""
    from neurolocal.errors import NeurolocalError

    refused = None
    for call in calls:
        try:
            call()
        except NeurolocalError as error:
            refused = error
    if refused is not None:
        raise refused


def write_out(data: bytes, folder: Path) -> None:
    """Export it as tables and for Neuronpedia, and make the pages of the site."""
    from neurolocal.export.neuronpedia import export_neuronpedia
    from neurolocal.export.table_files import export_tables
    from neurolocal.site.build import write_site

    path = folder / "s.h5"
    path.write_bytes(data)
    _each(
        lambda: _with(path, lambda store: export_tables(store, folder / "tables", format="csv", bar=False)),
        lambda: _with(path, lambda store: export_neuronpedia(store, folder / "pedia", bar=False)),
        lambda: write_site(path, folder / "site", top=2, processes=1, bar=False),
    )


def resume(data: bytes, folder: Path) -> None:
    """Resume a collection at a checkpoint."""
    from neurolocal.pipeline.collect import Collection, collect_store

    (folder / "s.h5").write_bytes(data)
    subject, corpus, config = _job()
    collect_store(Collection(subject, corpus, folder / "s.h5", config), say=silent, bar=False)


def merge(data: bytes, folder: Path) -> None:
    """Merge a damaged shard with a whole one."""
    from neurolocal.pipeline.merge import merge_stores

    paths = [folder / "a.h5", folder / "b.h5"]
    paths[0].write_bytes(data)
    paths[1].write_bytes(_shards()[1])
    merge_stores(folder / "out.h5", paths, say=silent)


@functools.cache
def _job() -> tuple[Any, Path, Any]:
    """A small random model, a corpus and settings."""
    from neurolocal.config import CollectConfig

    subject = twins.tiny_subject()
    corpus = twins.folder() / "corpus.jsonl"
    words = " ".join(f"w{i * 7 % 97}" for i in range(200))
    corpus.write_text("".join(json.dumps({"text": f"w{i} {words}"}) + "\n" for i in range(4)))
    return (
        subject,
        corpus,
        CollectConfig(
            row_length=16,
            k=3,
            before=4,
            after=2,
            batch_size=2,
            max_rows=16,
            packing="document",
            sample=12,
            logits=2,
            bos="none",
        ),
    )


def _collected(name: str, *, shard: int = 0, shards: int = 1, stop: int | None = None) -> bytes:
    import dataclasses
    import itertools

    from neurolocal.pipeline.collect import Collection, collect_store

    subject, corpus, config = _job()
    path = twins.folder() / name
    count = itertools.count(1)
    job = Collection(subject, corpus, path, dataclasses.replace(config, shard=shard, shards=shards))
    collect_store(job, say=silent, bar=False, stop=lambda: stop is not None and next(count) >= stop)
    return path.read_bytes()


@functools.cache
def _shards() -> list[bytes]:
    return [_collected(f"shard-{i}.h5", shard=i, shards=2) for i in range(2)]


@functools.cache
def _stores() -> list[bytes]:
    """With evidence, with every kind of dataset, imported from pages, and collected."""
    report, store = twins.module("report", "report_twins"), twins.module("store", "store_twins")
    from neurolocal.store import add_evidence, write_collected

    made = [report.SmallStore(neurons=3, layers=(1, 2)).write(twins.folder() / "small.h5")]
    made.append(report.SmallStore(neurons=2, layers=(0,), hostile=True).write(twins.folder() / "hostile.h5"))
    rng = np.random.default_rng(0)
    write_collected(
        twins.folder() / "kinds.h5",
        store.made_up(rng, cases=True, effects=True, neurons=np.arange(4), sites=("post", "pre")),
    )
    add_evidence(twins.folder() / "kinds.h5", store.evidence(rng), site="post")
    made.append(twins.folder() / "kinds.h5")
    return [path.read_bytes() for path in made] + [_collected("whole.h5"), _imported()]


def _imported() -> bytes:
    from fuzzing.sites import pages
    from neurolocal.neuroscope.imports.from_pages import import_pages

    (twins.folder() / "159.html").write_bytes(pages()[0])
    import_pages([twins.folder() / "159.html"], twins.folder() / "imported.h5", say=silent, bar=False, processes=1)
    return (twins.folder() / "imported.h5").read_bytes()


READERS: dict[str, Reader] = {
    "store": Reader(_stores, mutate, read_store, guided=False),
    "store-export": Reader(_stores, mutate, write_out, guided=False),
    "store-checkpoint": Reader(lambda: [_collected("part.h5", stop=2)], mutate, resume, guided=False),
    "store-merge": Reader(_shards, mutate, merge, guided=False),
}
"""Name -> reader."""
