"""Stages joined: what each is made from, whether it must be done again, and the whole run.

Invariant: a stage's result is kept with what it was made from (config, hashes of its inputs); when that is unchanged it
is not done again, and when it is not, the run says what differs. Nothing here computes; the rooms do.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurolocal.cache import file_sha256
from neurolocal.config import CollectConfig, differences, sha256
from neurolocal.errors import CorpusError, StoreError

if TYPE_CHECKING:
    from neurolocal.collect import Outcome, Progress
    from neurolocal.corpus import Cursor, RowStream
    from neurolocal.store import Store
    from neurolocal.subject import Subject

Say = Callable[[str], None]
"""Tells the user one line."""

AGAIN = "Delete the file to collect again, or give another --store."


@dataclass(frozen=True)
class Collection:
    """What a collection is made from."""

    subject: Subject
    corpus: Path
    store: Path
    config: CollectConfig


def collect_stage(
    job: Collection, *, say: Say, replace: bool = False, stop: Callable[[], bool] | None = None,
    every: float | None = None, bar: bool = True,
) -> Outcome | None:  # fmt: skip
    """Collect, or go on with what a stopped run left; None where the store is complete already.

    Args:
        job: subject, corpus, store and config.
        say: told what is reused, gone on with, or done again, and why.
        replace: whether a store made from something else is collected anew (True) or refused.
        stop: asked after every batch; None listens to Ctrl-C and SIGTERM.
        every: seconds between checkpoints; None is the default.
        bar: whether to show a progress bar.

    Raises:
        StoreError: the path holds something else, or a store of other inputs (without `replace`).
        CorpusError, ConfigError: see there.
    """
    from neurolocal.collect import CHECKPOINT_SECONDS, collect, start
    from neurolocal.corpus import batches, corpus_files

    files = corpus_files(job.corpus)
    progress, cursor = start(job.subject, job.config), None
    if job.store.exists():
        found = _what_is_there(job, files, replace=replace, say=say)
        if found == "complete":
            say(f"collect: {job.store} is complete and its inputs are unchanged; nothing to do")
            return None
        if isinstance(found, list):
            say(f"collect: again, since {'; '.join(found)}")
        elif found is not None:
            cursor = _restore(job, progress)
            say(f"collect: going on at row {progress.rows:,} of {job.store}")
    stream = _stream(job, files)

    def checkpoint(progress: Progress, snapshots: Mapping[int, Any], *, complete: bool) -> None:
        _write(job, files, stream.skipped, progress, snapshots, complete=complete)

    with _signals(say) as signalled:
        outcome = collect(
            job.subject,
            batches(stream, cursor),
            progress,
            config=job.config,
            checkpoint=checkpoint,
            every=CHECKPOINT_SECONDS if every is None else every,
            stop=stop or signalled,
            bar=bar,
        )
    for reason, n in stream.skipped.counts.items():
        first = stream.skipped.first.get(reason, "in an earlier run")
        say(f"collect: {n:,} records skipped: {reason} (first: {first})")
    for layer, n in outcome.nonfinite.items():
        say(f"collect: WARNING: {n:,} NaN or infinite activations in layer {layer}; they are in no list. Try float32.")
    return outcome


@contextmanager
def _signals(say: Say) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came: the first asks for an end after the batch, a second one ends at once."""
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("stopping after this batch; once more to stop at once")

    names = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {name: signal.signal(name, ask) for name in names}
    try:
        yield lambda: asked
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _stream(job: Collection, files: list[Path]) -> RowStream:
    from neurolocal.corpus import RowStream

    return RowStream(files, job.subject.encode_documents, job.subject.bos, job.subject.eos, job.config)


def _what_is_there(job: Collection, files: list[Path], *, replace: bool, say: Say) -> str | list[str] | None:
    """`complete`, `partial`, or what differs (only with `replace`)."""
    from neurolocal.store import Store

    with Store(job.store) as store:
        there = store.manifest
        try:
            here = _manifest(job, files[: len(there["corpus"]["files"])], files)
            old, new = _identity(there), _identity(here)
        except (KeyError, TypeError) as error:
            raise StoreError(
                f"going on with {job.store}: its manifest does not say what it was made from ({error}). {AGAIN}"
            ) from error
        differ = differences(old, new)
        if differ and not there["complete"] and _only_the_last_file(old, new):
            say(f"collect: {files[len(new['corpus']) - 1]} has changed; comparing the text that was read so far")
            differ = [] if _same_rows(job, files, _cursor(store)) else differ
        if differ and not replace:
            differ.sort(key=lambda line: not line.startswith(("subject", "tokenizer")))  # the gravest first
            raise StoreError(
                f"collecting into {job.store}: it was made from something else ({'; '.join(differ[:4])}). "
                "Give another --store, or delete this one."
            )
        return differ or ("complete" if there["complete"] else "partial")


def _only_the_last_file(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether nothing differs but the content of the file in which the collection stopped, which may have been cut."""
    last = next(reversed(new["corpus"]), None)
    return list(old["corpus"]) == list(new["corpus"]) and not differences(
        old | {"corpus": {**old["corpus"], last: None}}, new | {"corpus": {**new["corpus"], last: None}}
    )


def _same_rows(job: Collection, files: list[Path], cursor: Cursor) -> bool:
    """Whether the corpus, read from its beginning, still gives the rows that a cursor's digest names."""
    try:
        batches = _stream(job, files).batches()
        after = next((b.after for b in batches if b.after.batches >= cursor.batches), None)
    except CorpusError:
        return False
    return after is not None and after.facts() == cursor.facts()


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
    from neurolocal.corpus import Cursor
    from neurolocal.store import Collected, write_collected

    cursor: Cursor = progress.cursor or Cursor()  # a shard may hold no batch
    whole = complete and job.config.max_rows is None
    manifest = _manifest(job, files if whole else files[: cursor.file + 1], files)
    manifest["corpus"] |= {
        "documents": cursor.documents,
        "rows_sha256": cursor.digest,
        "skipped": dict(skipped.counts) if whole else cursor.skipped,
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
            rest=() if complete else tuple(piece.tokens for piece in cursor.rest),
        ),
    )


def _restore(job: Collection, progress: Progress) -> Cursor:
    """Fill a progress from a checkpoint; the cursor to go on from.

    Raises:
        StoreError: what lies there cannot be gone on with.
    """
    from neurolocal.collect.state import LayerSnapshot
    from neurolocal.records import SIDES, Side, TopK
    from neurolocal.store import Store

    path, config = job.store, job.config
    with Store(path) as store:
        tokens, length = store.rows_stored
        for layer, state in progress.layers.items():
            lists: dict[Side, TopK] = {side: store.top(layer, side) for side in SIDES}
            wanted = (job.subject.d_mlp[layer], config.k, config.before + 1 + config.after)
            if any(top.window.shape != wanted for top in lists.values()):
                raise StoreError(f"going on with {path}: its lists of layer {layer} have another size. {AGAIN}")
            state.restore(LayerSnapshot(lists, store.statistics(layer)))
        if store.token_count.shape != progress.token_count.shape or tokens.shape[1] != progress.tokens.shape[1]:
            raise StoreError(f"going on with {path}: its vocabulary or rows have another size. {AGAIN}")
        progress.token_count = store.token_count.copy()
        progress.tokens, progress.length = tokens.astype(np.int64), length
        progress.index = store.row_index
        progress.rows, progress.n_tokens = store.manifest["rows"], store.manifest["tokens"]
        progress.cursor = _cursor(store)
        return progress.cursor


def _cursor(store: Store) -> Cursor:
    """Where a store's collection stands in the corpus.

    Raises:
        StoreError: it does not say so.
    """
    from neurolocal.corpus import Cursor, Piece

    rest = store.rest()
    try:
        cursor = Cursor(**store.manifest["cursor"])
        tokens = rest.astype(np.int32)
        piece = Piece(tokens, np.full(len(tokens), -1), cursor.file, max(0, cursor.record - 1), "")
        cursor = dataclasses.replace(cursor, rest=(piece,) if len(tokens) else ())
        numbers = (cursor.file, cursor.record, cursor.rows, cursor.batches, cursor.documents, cursor.tokens)
        known = all(type(n) is int and n >= 0 for n in (*numbers, *cursor.skipped.values()))
        bytes.fromhex(cursor.digest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"going on with {store.path}: it has no cursor. {AGAIN}") from error
    if not known or (len(rest) and int(rest.max()) >= len(store.vocabulary.tokens)):
        raise StoreError(f"going on with {store.path}: its cursor cannot be. {AGAIN}")
    return cursor
