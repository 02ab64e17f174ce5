"""Stages joined: what each is made from, whether it must be done again, and the whole run.

Invariant: a stage's result is kept with what it was made from (config, hashes of its inputs); when that is unchanged it
is not done again, and when it is not, the run says what differs. Nothing here computes; the rooms do.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurolocal.cache import file_sha256
from neurolocal.config import CollectConfig, differences, sha256
from neurolocal.errors import StoreError

if TYPE_CHECKING:
    from neurolocal.collect import Outcome, Progress
    from neurolocal.corpus import Cursor
    from neurolocal.subject import Subject

Say = Callable[[str], None]
"""Tells the user one line."""


@dataclass(frozen=True)
class Collection:
    """What a collection is made from."""

    subject: Subject
    corpus: Path
    store: Path
    config: CollectConfig


def collect_stage(
    job: Collection, *, say: Say, replace: bool = False, stop: Callable[[], bool] = lambda: False,
    every: float | None = None, bar: bool = True,
) -> Outcome | None:  # fmt: skip
    """Collect, or go on with what a stopped run left; None where the store is complete already.

    Args:
        job: subject, corpus, store and config.
        say: told what is reused, gone on with, or done again, and why.
        replace: whether a store made from something else is collected anew (True) or refused.
        stop: asked after every batch.
        every: seconds between checkpoints; None is the default.
        bar: whether to show a progress bar.

    Raises:
        StoreError: the path holds something else, or a store of other inputs (without `replace`).
        CorpusError, ConfigError: see there.
    """
    from neurolocal.collect import CHECKPOINT_SECONDS, collect, start
    from neurolocal.corpus import RowStream, batches, corpus_files

    files = corpus_files(job.corpus)
    progress, cursor = start(job.subject, job.config), None
    if job.store.exists():
        found = _what_is_there(job, files, replace=replace)
        if found == "complete":
            say(f"collect: {job.store} is complete and its inputs are unchanged; nothing to do")
            return None
        if isinstance(found, list):
            say(f"collect: again, since {'; '.join(found)}")
        elif found is not None:
            cursor = _restore(job.store, progress)
            say(f"collect: going on at row {progress.rows:,} of {job.store}")
    stream = RowStream(files, job.subject.encode, job.subject.bos, job.subject.eos, job.config)

    def checkpoint(progress: Progress, snapshots: Mapping[int, Any], *, complete: bool) -> None:
        _write(job, files, stream.skipped, progress, snapshots, complete=complete)

    outcome = collect(
        job.subject,
        batches(stream, cursor),
        progress,
        config=job.config,
        checkpoint=checkpoint,
        every=CHECKPOINT_SECONDS if every is None else every,
        stop=stop,
        bar=bar,
    )
    for reason, n in stream.skipped.counts.items():
        say(f"collect: {n:,} records skipped: {reason} (first: {stream.skipped.first[reason]})")
    for layer, n in outcome.nonfinite.items():
        say(f"collect: WARNING: {n:,} NaN or infinite activations in layer {layer}; they are in no list. Try float32.")
    return outcome


def _what_is_there(job: Collection, files: list[Path], *, replace: bool) -> str | list[str] | None:
    """`complete`, `partial`, or what differs (only with `replace`)."""
    from neurolocal.store import Store

    with Store(job.store) as store:
        there = store.manifest
        differ = differences(_identity(there), _identity(_manifest(job, files[: len(there["corpus"]["files"])], files)))
        if differ and not replace:
            raise StoreError(
                f"collecting into {job.store}: it was made from something else ({'; '.join(differ[:4])}). "
                "Give another --store, or delete this one."
            )
        return differ or ("complete" if there["complete"] else "partial")


def _identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a manifest that decides what a collection holds; paths and progress do not."""
    return {
        "subject": manifest["subject"]["sha256"],
        "tokenizer": manifest["tokenizer"]["sha256"],
        "corpus": {f["name"]: f["sha256"] for f in manifest["corpus"]["files"]},
        "corpus files": manifest["corpus"]["n_files"],
        "config": manifest["config"],
    }


def _manifest(job: Collection, reached: list[Path], files: list[Path]) -> dict[str, Any]:
    """All but how far it is; `reached` are the files read so far, the only ones that are hashed."""
    root = job.corpus if job.corpus.is_dir() else job.corpus.parent
    return {
        "subject": job.subject.facts(),
        "tokenizer": job.subject.tokenizer_facts(),
        "corpus": {
            "path": str(job.corpus),
            "n_files": len(files),
            "files": [{"name": str(f.relative_to(root)), "sha256": _path_sha256(f)} for f in reached],
        },
        "config": json.loads(json.dumps(dataclasses.asdict(job.config))),
        "versions": {name: version(name) for name in ("neurolocal", "torch", "transformers", "transformer-lens")},
    }


def _path_sha256(path: Path) -> str:
    if path.is_file():
        return file_sha256(path)
    return sha256([[str(f.relative_to(path)), file_sha256(f)] for f in sorted(path.rglob("*")) if f.is_file()])


def _write(
    job: Collection,
    files: list[Path],
    skipped: Any,
    progress: Progress,
    snapshots: Mapping[int, Any],
    *,
    complete: bool,
) -> None:
    from neurolocal.store import Collected, write_collected

    cursor: Cursor = progress.cursor
    manifest = _manifest(job, files if complete and job.config.max_rows is None else files[: cursor.file + 1], files)
    manifest["corpus"] |= {
        "documents": cursor.documents,
        "rows_sha256": cursor.digest,
        "skipped": dict(skipped.counts),
    }
    manifest |= {
        "rows": progress.rows,
        "tokens": progress.n_tokens,
        "complete": complete,
        "cursor": cursor.facts(),
    }
    write_collected(
        job.store,
        Collected(
            manifest=manifest,
            site=job.config.site,
            lists={layer: s.lists for layer, s in snapshots.items()},
            statistics={layer: s.statistics for layer, s in snapshots.items()},
            tokens=progress.tokens,
            length=progress.length,
            index=progress.index,
            token_count=progress.token_count,
            vocabulary=job.subject.vocabulary,
            rest=() if complete else cursor.rest,
        ),
    )


def _restore(path: Path, progress: Progress) -> Cursor:
    """Fill a progress from a checkpoint; the cursor to go on from."""
    from neurolocal.collect.state import LayerSnapshot
    from neurolocal.corpus import Cursor
    from neurolocal.records import SIDES
    from neurolocal.store import Store

    with Store(path) as store:
        for layer, state in progress.layers.items():
            lists = {side: store.top(layer, side) for side in SIDES}
            state.restore(LayerSnapshot(lists, store.statistics(layer)))
        progress.token_count = store.token_count.copy()
        tokens, length = store.rows_stored
        progress.tokens, progress.length = tokens.astype(np.int64), length
        progress.index = store.row_index
        progress.rows, progress.n_tokens = store.manifest["rows"], store.manifest["tokens"]
        rest = store.rest().astype(np.int32)
        progress.cursor = Cursor(**store.manifest["cursor"], rest=(rest,) if len(rest) else ())
        return progress.cursor
