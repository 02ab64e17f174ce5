"""The collection: subject and corpus -> a store, resumed where an earlier run stopped.

Invariant: a store is kept with what it was made from. Unchanged, it is not collected again; changed, it is refused or
replaced, and the differences are printed. Direct logit effects are added when the store is complete.
Cost: that of `collect`, the checkpoints, and the effects.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurolocal.config import CollectConfig
from neurolocal.errors import CorpusError, StoreError
from neurolocal.files import locked
from neurolocal.machine import command_began, computes_in, free_bytes, total_bytes
from neurolocal.pipeline.batch_range import BatchRange
from neurolocal.pipeline.batch_size import enough_memory
from neurolocal.pipeline.checkpoint import restore, write_store
from neurolocal.pipeline.effects import add_effects
from neurolocal.pipeline.existing import as_begun, existing
from neurolocal.pipeline.manifest import Collection as Collection
from neurolocal.pipeline.manifest import row_stream
from neurolocal.pipeline.overflow import overflow_lines
from neurolocal.progress import above_bars, waiting
from neurolocal.records import Place
from neurolocal.stage import Say, silent

if TYPE_CHECKING:
    from neurolocal.collect import Contents, Outcome, Progress
    from neurolocal.corpus import CorpusFile, Cursor, RowStream
    from neurolocal.subject import Subject


def collect_store(
    job: Collection, *, say: Say, replace: bool = False, stop: Callable[[], bool] | None = None,
    every: float | None = None, every_rows: int | None = None, bar: bool = True, part: BatchRange | None = None,
) -> Outcome | None:  # fmt: skip
    """Collect, or resume an interrupted collection; None where the store is complete already.

    Of a part nothing is said that concerns the whole corpus: see `prepared`.

    Args:
        job: subject, corpus, store and config.
        say: receives a line for the user at a time.
        replace: whether a store made from something else is collected anew (True) or refused.
        stop: called after every batch; True stops. None stops on Ctrl-C and SIGTERM.
        every: seconds between checkpoints; None is the default.
        every_rows: rows between checkpoints; None is by time alone.
        bar: whether to show a progress bar.
        part: the batches to collect, without logit effects; None is all of the config's shard.

    Raises:
        StoreError: the path is not a store, or a store of other inputs (without `replace`); another process is
            collecting into it; it cannot be written.
        CorpusError, ConfigError: see there.
        SubjectError: a batch is larger than the device's memory; the last checkpoint is kept.
    """
    from neurolocal.corpus import corpus_listing
    from neurolocal.store import Store

    listing = corpus_listing(job.corpus)
    if part is None and (line := listing.line()):
        say(f"collect: {line}")
    if job.store.exists():
        with Store(job.store):  # refused before a lock is put beside what is no store
            pass
    with _folder_of(job.store), locked(job.store, doing="collecting into", error=StoreError):
        return _collect(
            job, listing.files, part, say=say, replace=replace, stop=stop, every=every, every_rows=every_rows, bar=bar
        )


@contextmanager
def _folder_of(path: Path) -> Generator[None, None, None]:
    """Make a file's folder; it is removed again where nothing was written into it."""
    there = path.parent.exists()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if not there:
            with contextlib.suppress(OSError):
                path.parent.rmdir()


def _collect(
    job: Collection, files: Sequence[CorpusFile], part: BatchRange | None, *, say: Say, replace: bool,
    stop: Callable[[], bool] | None, every: float | None, every_rows: int | None, bar: bool,
) -> Outcome | None:  # fmt: skip
    from neurolocal.collect import collect, resolved, start

    job = as_begun(dataclasses.replace(job, config=resolved(job.config, job.subject)), say if part is None else silent)
    laps = _Laps(say if part is None else silent)
    if part is None:
        _say_shortage(job, say)
        _say_slow_dtype(job, say)
    found = existing(job, files, part, replace=replace, say=say) if job.store.exists() else None
    if found == "complete":
        return _complete(job, say=say, stop=stop, bar=bar) if part is None else None
    progress = start(job.subject, job.config, lists=job.lists)
    _say_lists(job, progress, say if part is None else silent)
    cursor = _resumed(job, progress, found, say=say)
    if part is None:
        with waiting(f"trying the tokenizer of {job.subject.name}", bar=bar):
            examine(job, files, say)
    stream = row_stream(job, files)
    # a loop that drives a GPU must not wait for the feed's Python; on a CPU a process would take the model's cores

    def checkpoint(contents: Contents, *, complete: bool) -> dict[Place, int]:
        return write_store(job, files, stream.skipped.counts, contents, complete=complete, bar=bar, part=part)

    with stop_signals(say) as signalled:
        with enough_memory(job, progress):
            outcome = collect(
                job.subject,
                laps.first_of(_batches(stream, cursor, part, process=on_gpu(job.subject))),
                progress,
                config=job.config,
                checkpoint=checkpoint,
                every=every,
                every_rows=every_rows,
                end=lambda: stream.end,
                stop=laps.after_each(stop or signalled),
                bar=bar,
            )
        if part is not None:
            return outcome
        if outcome.complete and not add_effects(job, say=say, stop=stop or signalled, bar=bar):
            outcome = dataclasses.replace(outcome, complete=False)
    laps.say_end()
    say_what_was_read(job.config, stream, getattr(progress.cursor, "control", 0), say)
    for line in overflow_lines(outcome.nonfinite, dtype=job.config.dtype):
        say(f"collect: WARNING: {line}")
    return outcome


def _complete(job: Collection, *, say: Say, stop: Callable[[], bool] | None, bar: bool) -> Outcome | None:
    """Add the logit effects that a complete store lacks; None where it has them all by then."""
    say(f"collect: {job.store} is complete and its inputs are unchanged; nothing to do")
    with stop_signals(say) as signalled:
        whole = add_effects(job, say=say, stop=stop or signalled, bar=bar)
    return None if whole else _without_effects(job)


def _resumed(job: Collection, progress: Progress, found: str | list[str] | None, *, say: Say) -> Cursor | None:
    """Fill the progress from a checkpoint; None where the collection begins anew.

    Args:
        job: the collection.
        progress: an empty one.
        found: see `existing`.
        say: receives a line for the user at a time.

    Raises:
        StoreError: the store lacks parts, which only workers can add; or it is no checkpoint of this job.
    """
    if found == "lacking":
        raise StoreError(
            f"collecting into {job.store}: it lacks parts of the corpus that its workers could not do. The command "
            "that made it (--engine ray) tries them again; or delete the file to collect on this machine."
        )
    if isinstance(found, list):
        say(f"collect: again, since {'; '.join(found)}")
    if found != "partial":
        return None
    cursor = restore(job, progress)
    say(f"collect: resuming at row {progress.rows:,} of {job.store}")
    return cursor


def _batches(stream: RowStream, cursor: Cursor | None, part: BatchRange | None, *, process: bool) -> Iterator[Any]:
    """The batches that are left, of the part or of the config's shard."""
    from neurolocal.corpus import batches

    if part is None:
        return batches(stream, cursor, process=process)
    return part.batches(stream, cursor or part.begin, process=process)


def prepared(job: Collection, *, replace: bool, say: Say) -> tuple[Collection, RowStream, str | list[str] | None]:
    """What comes before a collection in parts: the job with its settings resolved, its rows, and `existing`.

    Says what concerns the whole corpus, once. The rows hold nothing of the model, and can be pickled.

    Raises:
        NeurolocalError: as `collect_store` does before its first batch.
    """
    from neurolocal.collect import resolved
    from neurolocal.corpus import corpus_listing

    listing = corpus_listing(job.corpus)
    if line := listing.line():
        say(f"collect: {line}")
    job = as_begun(dataclasses.replace(job, config=resolved(job.config, job.subject)), say)
    _say_shortage(job, say)
    found = existing(job, listing.files, None, replace=replace, say=say) if job.store.exists() else None
    if found != "complete":
        examine(job, listing.files, say)
    return job, row_stream(job, listing.files), found


def fitted(config: CollectConfig, subject: Subject, *, say: Say) -> CollectConfig:
    """The settings with rows that are no longer than the subject's positions; says so where they are shortened."""
    if (subject.n_ctx or config.row_length) >= config.row_length:
        return config
    say(
        f"collect: {subject.name} has {subject.n_ctx:,} positions: rows have as many tokens, not the preset's "
        f"{config.row_length:,} (recorded in the store as row_length)"
    )
    return dataclasses.replace(config, row_length=subject.n_ctx)


def say_what_was_read(config: CollectConfig, stream: RowStream, control: int, say: Say) -> None:
    """Control tokens, replaced characters, cut documents and skipped records, a line each."""
    if control:
        how = config.control_tokens
        say(
            f"collect: the documents write out {control:,} control tokens, such as an end of text, which are read as "
            f"{'control tokens (--control-tokens text reads them as text)' if how == 'token' else 'text'}"
        )
    for file, n in stream.skipped.replaced.items():
        say(f"collect: {n:,} characters of {file} are U+FFFD: bytes that are no UTF-8, or were replaced before")
    for file, n in stream.skipped.cut.items():
        say(
            f"collect: documents of {file} were cut {n:,} times at white space: they are longer than longest_text "
            f"({config.longest_text:,} characters), and this tokenizer may give other ids on a cut text"
        )
    for reason, n in stream.skipped.counts.items():
        first = stream.skipped.first.get(reason, "in an earlier run")
        say(f"collect: {n:,} records skipped: {reason} (first: {first})")


class _Laps:
    """Says how long it took from the command to the first batch, and from the last batch to the end."""

    def __init__(self, say: Say) -> None:
        self._say, self._last = say, 0.0
        self._began = command_began(otherwise=time.monotonic())

    def first_of(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches; says two lines when the first is there."""
        for batch in batches:
            if not self._last:
                self._last = time.monotonic()
                with above_bars():
                    self._say(f"collect: {self._last - self._began:.1f} s from the command to the first batch")
                    self._say("collect: the first batch takes longer: its kernels are compiled or loaded")
            yield batch

    def after_each(self, stop: Callable[[], bool]) -> Callable[[], bool]:
        """The same function, which is called after every batch."""

        def noted() -> bool:
            self._last = time.monotonic()
            return stop()

        return noted

    def say_end(self) -> None:
        """Say the second line; nothing where there was no batch."""
        if self._last:
            seconds = time.monotonic() - self._last
            self._say(f"collect: {seconds:.1f} s from the last batch to the end (the store, logit effects)")


def _without_effects(job: Collection) -> Outcome:
    """How a run ended that had only effects to add, and was stopped before all were."""
    from neurolocal.collect import Outcome
    from neurolocal.store import Store

    with Store(job.store) as store:
        rows, n = store.manifest["rows"], store.manifest["tokens"]
    return Outcome(rows, n, complete=False, seconds=0.0, checkpoints=0, nonfinite={})


TRIED = 200
"""Records of the corpus with which the tokenizer is tried before a collection, at most."""

TRIED_BYTES = 1 << 26
"""Longest record that is read for it: a longer one takes seconds, and is read once more afterwards."""


def examine(job: Collection, files: Sequence[CorpusFile], say: Say) -> None:
    """Try the tokenizer on the first documents, and say what the user should know; the manifest states it, too."""
    from neurolocal.corpus import documents
    from neurolocal.subject.tokenizers.examine import SAMPLE

    chat = job.subject.chat_template
    render = None if chat is None else chat.render
    texts, room = list[str](), SAMPLE
    longest = min(TRIED_BYTES, job.config.longest_record)
    try:
        for document in documents(files, text_field=job.config.text_field, render=render, most=TRIED, longest=longest):
            if document.tokens is not None:
                continue
            texts.append(document.text[:room])  # no more: a document may have 250 MB
            room -= len(texts[-1])
            if room <= 0:
                break
    except CorpusError:  # the collection will say it
        return
    for line in job.subject.examine(texts, control=job.config.control_tokens):
        say(f"collect: {line}")


def on_gpu(subject: Subject) -> bool:
    """Whether a layer is on a GPU."""
    return any(subject.device_of(layer).type != "cpu" for layer in range(subject.n_layers))


def _say_slow_dtype(job: Collection, say: Say) -> None:
    """Say that a number format of 16 bits is slow on this processor."""
    dtype = job.config.dtype
    if not on_gpu(job.subject) and not computes_in(dtype):
        say(
            f"collect: this processor has no instructions for {dtype}; --dtype float32 may be several times faster here"
        )


def _say_shortage(job: Collection, say: Say) -> None:
    """Warn before the lists are made, whose memory is taken at once; refuse what the machine cannot hold.

    Raises:
        ConfigError: the lists or a batch are larger than all of its memory.
        SubjectError: the rows are longer than the subject can read.
    """
    from neurolocal.collect.memory import expected_bytes, require_memory, row_bytes, shortage
    from neurolocal.subject.placement import placement_line

    subject, free, total = job.subject, free_bytes(), total_bytes()
    if job.config.packing == "concat":  # documents may be shorter than a row
        subject.require_row_length(job.config.row_length)
    if line := placement_line(subject):
        say(f"collect: {line}")
    if free is None or on_gpu(subject):
        return
    if total is not None:
        require_memory(subject.d_mlp, job.config, total=total)
    d_model = subject.model.get_input_embeddings().weight.shape[1]
    expected = expected_bytes(subject.d_mlp, job.config, weights=0, d_model=d_model, d_vocab=subject.d_vocab)
    row = row_bytes(subject.d_mlp, job.config, d_model=d_model)
    if line := shortage(subject.d_mlp, job.config, expected=expected, free=free, row=row):
        say(f"collect: WARNING: {line}")


def _say_lists(job: Collection, progress: Progress, say: Say) -> None:
    """Say which layers' lists are not where their activations are."""
    from neurolocal.collect.empty import away

    layers = away(job.subject, progress)
    if layers and job.lists == "auto":
        say(
            f"collect: the lists of {len(layers)} of {job.subject.n_layers} layers are kept in the host's memory, as "
            "the device's is too small for them; their activations are copied there, which takes time"
        )


@contextmanager
def stop_signals(say: Say) -> Generator[Callable[[], bool], None, None]:
    """Gives whether Ctrl-C or SIGTERM came. The first one stops after the batch, a second one at once."""
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("stopping after this batch; press again to stop at once")

    names = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {name: signal.signal(name, ask) for name in names}
    try:
        yield lambda: asked
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
