"""The batches of a stream, made ahead of the model: in a thread, or in a process of its own.

A thread beside a model on a CPU takes as much of it as the same work between two batches would. A model on a GPU is
driven by one Python thread, which must not wait for another one's Python; so there the text is read, tokenised and
packed in a process (`feed_child.py`), whose threads use the cores that are left.
Invariant: batches, cursors and errors come as they would from `RowStream.batches`; nothing is left running when the
reader stops, fails or is killed.
Cost: `AHEAD` batches; a process has its own copy of the tokenizer, and its batches are copied once.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from neurolocal.corpus.cursor import Cursor
from neurolocal.corpus.packing import Batch
from neurolocal.corpus.readers import SkipCounts
from neurolocal.corpus.stream import RowStream
from neurolocal.errors import CorpusError
from neurolocal.machine import cores

AHEAD = 8
"""Batches prepared before they are needed."""

THREADS = 16
"""Most threads of a process that tokenise; more would wait for its Python."""

CHILD = "import sys; sys.path[:] = sys.argv[1:]; from neurolocal.corpus.feed_child import main; main()"


class Message(NamedTuple):
    """What comes after the batch before it: a batch, an error, or the end of the corpus."""

    batch: Batch | None = None
    error: BaseException | None = None
    end: Cursor | None = None
    """At the end, and behind an error None."""
    skipped: SkipCounts | None = None
    """The records skipped by then, where a process counts them and they have changed."""


def batches(stream: RowStream, cursor: Cursor | None = None, *, process: bool = False) -> Generator[Batch]:
    """The batches of this shard from `stream.batches`, made ahead.

    Batches of other shards are made too, since their tokens decide where ours begin, but are not returned. `stream.end`
    is set when the last batch has been consumed, not when it was made.

    Args:
        stream: the rows; for a process it must be one that can be pickled.
        cursor: where to begin.
        process: whether a process of its own makes them, or a thread.
    """
    stream.end = None
    ready: queue.Queue[Message] = queue.Queue(AHEAD)
    stop = threading.Event()
    source = _Process(stream, cursor) if process else None

    def work() -> None:
        for message in messages(replace(stream), cursor) if source is None else source:
            while not stop.is_set():
                with contextlib.suppress(queue.Full):
                    ready.put(message, timeout=0.1)
                    break
            if stop.is_set():
                return

    thread = threading.Thread(target=work, name="rows", daemon=True)
    thread.start()
    try:
        while True:
            message = ready.get()
            if message.skipped is not None:
                vars(stream.skipped).update(vars(message.skipped))
            if message.error is not None:
                raise message.error
            if message.batch is None:
                break
            yield message.batch
        stream.end = message.end
    finally:
        stop.set()
        if source is not None:
            source.close()
        thread.join(timeout=5)


def messages(stream: RowStream, cursor: Cursor | None) -> Iterator[Message]:
    """What a stream gives, this shard's batches alone."""
    try:
        for batch in stream.batches(cursor):
            if batch.number % stream.config.shards == stream.config.shard:
                yield Message(batch)
        yield Message(end=stream.end)
    except BaseException as error:
        if isinstance(error, GeneratorExit):
            raise
        yield Message(error=error)


class _Process:
    """A process that makes the batches; iterating gives its messages, the last of which is the end or an error."""

    def __init__(self, stream: RowStream, cursor: Cursor | None) -> None:
        """Start it."""
        threads = max(1, min(THREADS, cores() - 1))
        question = pickle.dumps((replace(stream, threads=threads), cursor), protocol=5)
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out, self._question = self._process.stdin, self._process.stdout, question

    def __iter__(self) -> Iterator[Message]:
        """Ask, and give what comes."""
        try:
            self._in.write(self._question)
            self._in.flush()  # it stays open: its end tells the process that this one has ended
            del self._question
            while True:
                message: Message = pickle.load(self._out)
                yield message
                if message.batch is None:
                    return
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            yield Message(error=self._ended())

    def _ended(self) -> CorpusError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.returncode
        how = "was ended" if code is None else f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        return CorpusError(
            f"reading the corpus: the process that reads and tokenises it {how}, perhaps as memory is short. "
            "What was collected is kept; the same command resumes."
        )

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._in, self._out):
            with contextlib.suppress(OSError, ValueError):
                pipe.close()


def send(out: Any, message: Message) -> None:
    """Write a message; an error that cannot be written is sent as its name and text."""
    try:
        data = pickle.dumps(message, protocol=5)
        if message.error is not None:
            pickle.loads(data)
    except Exception:
        error = RuntimeError(f"{type(message.error).__name__}: {message.error}")
        data = pickle.dumps(message._replace(error=error), protocol=5)
    out.write(data)
    out.flush()
