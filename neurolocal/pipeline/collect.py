"""The collection: subject and corpus -> a store, resumed where a stopped run left it.

Invariant: a store is kept with what it was made from (config, hashes of its inputs). Unchanged, it is not collected
again; changed, it is refused or replaced, and what differs is said.
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

from neurolocal.config import CollectConfig, differences, sha256
from neurolocal.errors import CorpusError, StoreError, SubjectError
from neurolocal.files import file_sha256
from neurolocal.records import BINS, HISTOGRAM_EVERY, THRESHOLDS, LayerRecord, LogitEffects, Place

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


def collect_store(
    job: Collection, *, say: Say, replace: bool = False, stop: Callable[[], bool] | None = None,
    every: float | None = None, every_rows: int | None = None, bar: bool = True,
) -> Outcome | None:  # fmt: skip
    """Collect, or go on with what a stopped run left; None where the store is complete already.

    Args:
        job: subject, corpus, store and config.
        say: told what is reused, gone on with, or done again, and why.
        replace: whether a store made from something else is collected anew (True) or refused.
        stop: asked after every batch; None listens to Ctrl-C and SIGTERM.
        every: seconds between checkpoints; None is the default.
        every_rows: rows between checkpoints; None is by time alone.
        bar: whether to show a progress bar.

    Raises:
        StoreError: the path holds something else, or a store of other inputs (without `replace`).
        CorpusError, ConfigError: see there.
    """
    from neurolocal.collect import collect, resolved, start
    from neurolocal.corpus import batches, corpus_files

    files = corpus_files(job.corpus)
    job = dataclasses.replace(job, config=resolved(job.config, job.subject))
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

    def checkpoint(progress: Progress, *, complete: bool) -> dict[Place, int]:
        return write_store(job, files, stream.skipped.counts, progress, complete=complete, say=say)

    with _signals(say) as signalled:
        outcome = collect(
            job.subject,
            batches(stream, cursor),
            progress,
            config=job.config,
            checkpoint=checkpoint,
            every=every,
            every_rows=every_rows,
            end=lambda: stream.end,
            stop=stop or signalled,
            bar=bar,
        )
    for reason, n in stream.skipped.counts.items():
        first = stream.skipped.first.get(reason, "in an earlier run")
        say(f"collect: {n:,} records skipped: {reason} (first: {first})")
    for (site, layer), n in outcome.nonfinite.items():
        say(
            f"collect: WARNING: {n:,} NaN or infinite activations at {site} of layer {layer}; they are in no list. "
            "Try float32."
        )
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
            old, new = identity(there), identity(here)
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


def identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
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
        "statistics": {"thresholds": list(THRESHOLDS), "histogram_every": HISTOGRAM_EVERY, "bins": BINS},
        "versions": {name: version(name) for name in ("neurolocal", "torch", "transformers", "transformer-lens")},
    }


def _path_sha256(path: Path) -> str:
    if path.is_file():
        return file_sha256(path)
    return sha256([[str(f.relative_to(path)), file_sha256(f)] for f in sorted(path.rglob("*")) if f.is_file()])


def write_store(
    job: Collection, files: list[Path], skipped: Mapping[str, int], progress: Progress, *, complete: bool, say: Say
) -> dict[Place, int]:
    """Write the store; returns the NaN and infinite activations of each layer that has some."""
    from neurolocal.corpus import Cursor, rest_arrays
    from neurolocal.store import StoreContent, StoredRows, write_collected

    kept, cursor = progress.kept, progress.cursor or Cursor()  # a shard may hold no batch
    whole = complete and job.config.max_rows is None
    manifest = _manifest(job, files if whole else files[: cursor.file + 1], files)
    manifest["corpus"] |= {
        "documents": cursor.documents,
        "subsets": cursor.subsets,
        "rows_sha256": cursor.digest,
        "skipped": dict(skipped) if whole else cursor.skipped,
    }
    manifest |= {"rows": progress.rows, "tokens": progress.n_tokens, "complete": complete, "cursor": cursor.facts()}
    bad: dict[Place, int] = {}

    def layers() -> Iterator[tuple[Place, LayerRecord]]:
        effects = _effects(job, say) if complete else (lambda place: None)
        for place, record in progress.records():
            if n := int(record.statistics.nonfinite.sum()):
                bad[place] = n
            yield place, dataclasses.replace(record, effects=effects(place))

    write_collected(
        job.store,
        StoreContent(
            manifest=manifest,
            layers=layers(),
            sample=progress.sampler.snapshot(),
            rows=lambda: StoredRows(kept.tokens, kept.length, kept.index, kept.parts.columns()),
            token_count=progress.token_count,
            vocabulary=job.subject.vocabulary,
            rest={} if complete else rest_arrays(cursor.rest),
        ),
    )
    return bad


def _effects(job: Collection, say: Say) -> Callable[[Place], LogitEffects | None]:
    """The direct logit effects of a layer, if asked for and the subject can say; of shards, the first computes them."""
    if job.config.logits == 0 or job.config.shard:
        return lambda place: None
    from neurolocal.subject.logits import logit_effects

    said: list[str] = []

    def effects(place: Place) -> LogitEffects | None:
        site, layer = place
        if said or site not in ("post", "mid"):
            return None
        try:
            found = logit_effects(job.subject, layer, k=job.config.logits, site=site)
        except SubjectError as error:
            said.append(str(error))
            say(f"collect: no direct logit effects: {error}")
            return None
        chosen = job.config.neurons
        return found if chosen is None else LogitEffects(*(a[list(chosen)] for a in vars(found).values()))

    return effects


def _restore(job: Collection, progress: Progress) -> Cursor:
    """Fill a progress from a checkpoint; the cursor to go on from.

    Raises:
        StoreError: what lies there cannot be gone on with.
    """
    from neurolocal.store import Store

    path, config = job.store, job.config
    for site in config.sites or ():
        with Store(path, site=site) as store:
            for layer in store.layers:
                record, state = store.record(layer), progress.states[site, layer]
                wanted = state.snapshot(progress.sampler.order())
                if _shapes(record) != _shapes(wanted) or len(store.sample.row) > config.sample:
                    raise StoreError(f"going on with {path}: its lists of layer {layer} have another size. {AGAIN}")
                state.restore(record)
    with Store(path) as store:
        tokens, length = store.rows_stored
        kept = progress.kept
        if store.token_count.shape != progress.token_count.shape or tokens.shape[1] != kept.tokens.shape[1]:
            raise StoreError(f"going on with {path}: its vocabulary or rows have another size. {AGAIN}")
        progress.token_count = store.token_count.copy()
        kept.tokens, kept.length = tokens.astype(kept.tokens.dtype), length
        kept.index, kept.parts = store.row_index, store.parts
        progress.sampler.restore(store.sample)
        progress.rows, progress.n_tokens = store.manifest["rows"], store.manifest["tokens"]
        progress.cursor = _cursor(store)
        return progress.cursor


def _shapes(record: LayerRecord) -> tuple[Any, ...]:
    """What two records of one layer and config share."""
    lists = {side: top.window.shape for side, top in record.lists.items()}
    return lists, record.sample.shape[0], record.cases is None, None if record.neurons is None else list(record.neurons)


def _cursor(store: Store) -> Cursor:
    """Where a store's collection stands in the corpus.

    Raises:
        StoreError: it does not say so.
    """
    from neurolocal.corpus import Cursor, rest_from

    rest = store.rest()
    try:
        cursor = Cursor(**store.manifest["cursor"], rest=rest_from(rest) if rest else ())
        numbers = (cursor.file, cursor.record, cursor.rows, cursor.batches, cursor.documents, cursor.tokens)
        counts = (*numbers, *cursor.skipped.values(), *cursor.subsets.values())
        known = all(type(n) is int and n >= 0 for n in counts)
        bytes.fromhex(cursor.digest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"going on with {store.path}: it has no cursor. {AGAIN}") from error
    if not known or any(int(piece.tokens.max()) >= len(store.vocabulary.tokens) for piece in cursor.rest):
        raise StoreError(f"going on with {store.path}: its cursor cannot be. {AGAIN}")
    return cursor
