"""Documents -> fixed-length rows -> batches, each with the cursor at which a stopped run goes on behind it.

Two packings. `concat`: documents joined by EOS and cut into full rows, BOS before each; as TransformerLens's
`tokenize_and_concatenate` does within one of its batches, but over the whole corpus; the last part of a row is dropped.
`document`: no row holds two documents; a longer one goes on in the next row, a shorter one is padded at its end.
Invariant: rows, their numbers and the cursor depend on the corpus, the tokenizer and the config alone, so every shard
sees the same batches and takes its own.
Cost: a rolling buffer of one group of documents; tokenising runs in a thread, `AHEAD` batches ahead of the model.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from neurolocal.config import CollectConfig
from neurolocal.corpus.readers import Document, Skipped, corpus_bytes, documents
from neurolocal.errors import ConfigError, CorpusError

Encode = Callable[[list[str]], list[list[int]]]
"""Texts -> token ids of each, without special tokens."""

GROUP = 1 << 18
"""Characters tokenised in one call: enough for the tokenizer's threads, little to redo after a stop."""

AHEAD = 8
"""Batches made ready before they are asked for."""


@dataclass(frozen=True)
class Cursor:
    """Where the corpus stands behind a batch: all that a later run needs to go on with the next one."""

    file: int = 0
    """Number of the next document's file."""
    record: int = 0
    """Number of the next document's record in it."""
    rows: int = 0
    """Rows made so far: the next row's index."""
    batches: int = 0
    """Batches made so far."""
    documents: int = 0
    """Documents begun so far."""
    tokens: int = 0
    """Tokens of text in the rows so far: no BOS, no padding."""
    digest: str = ""
    """Chained SHA-256 of the rows so far: names the text that was analysed, whatever file it came in."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Records passed over so far, by reason."""
    rest: tuple[Int32[np.ndarray, "_"], ...] = field(default=(), repr=False)
    """Tokens read but not yet in a row."""
    share: float = field(default=0.0, compare=False)
    """Share of the corpus's bytes on the disk that were read by then, for an estimate; 0 where unknown."""

    def facts(self) -> dict[str, Any]:
        """All but `rest` and `share`, as plain values."""
        names = ("file", "record", "rows", "batches", "documents", "tokens", "digest", "skipped")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Batch:
    """Some rows of the corpus."""

    number: int
    """Number of the batch in the corpus."""
    tokens: Int64[np.ndarray, "batch pos"]
    """Token ids; behind `length` comes padding, which no causal model sees from before."""
    length: Int64[np.ndarray, "batch"]
    """Tokens of each row that are no padding."""
    rows: Int64[np.ndarray, "batch"]
    """Row indices, ascending."""
    after: Cursor
    """Where to go on behind this batch."""


@dataclass(frozen=True)
class RowStream:
    """What makes rows: the files, the tokenizer, and the conventions."""

    files: list[Path]
    encode: Encode
    bos: int | None
    eos: int | None
    config: CollectConfig
    skipped: Skipped = field(default_factory=Skipped)

    def __post_init__(self) -> None:
        if self.config.bos == "prepend" and self.bos is None:
            raise ConfigError("bos = prepend, but the tokenizer has neither BOS nor EOS: pass --bos none")
        if self.config.packing == "concat" and self.eos is None and self.bos is None:
            raise ConfigError("packing = concat, but the tokenizer has no EOS to join by: pass --packing document")

    def batches(self, cursor: Cursor | None = None) -> Iterator[Batch]:
        """Every batch of the corpus behind a cursor; the last may hold fewer rows.

        Raises:
            CorpusError: the corpus cannot be read, or gives no row at all.
        """
        start = cursor or Cursor()
        self.skipped.counts.clear()
        self.skipped.counts.update(start.skipped)
        config, digest = self.config, start.digest
        limit = config.max_rows if config.max_rows is not None else np.inf
        pending: list[tuple[np.ndarray, int]] = []
        state = start
        for row, length, state in self._rows(start):
            if start.rows >= limit:
                return
            pending.append((row, length))
            if len(pending) == config.batch_size or state.rows >= limit:
                batch = _batch(pending, replace(state, batches=start.batches + 1, digest=digest))
                yield batch
                start, digest, pending = batch.after, batch.after.digest, []
                if state.rows >= limit:
                    return
        if pending:
            yield _batch(pending, replace(state, batches=start.batches + 1, digest=digest))

    def _rows(self, cursor: Cursor) -> Iterator[tuple[np.ndarray, int, Cursor]]:
        """Each row with its length and the cursor behind it (without batch number and digest)."""
        fill = self.config.row_length - (self.config.bos == "prepend")
        whole = self.config.packing == "concat"
        joint = np.array([self.eos if self.eos is not None else self.bos], dtype=np.int32) if whole else None
        rest, held = deque(cursor.rest), sum(map(len, cursor.rest))
        found, size = self._encoded(cursor), max(1, corpus_bytes(self.files))
        while True:
            while held >= fill or (held and not whole):  # first of all what an earlier run had left
                take = min(fill, held)
                text = _take(rest, take)
                held -= take
                cursor = replace(cursor, rows=cursor.rows + 1, tokens=cursor.tokens + take, rest=tuple(rest))
                yield self._row(text), take + self.config.row_length - fill, cursor
            if (item := next(found, None)) is None:
                break
            document, ids, skipped = item
            tokens = np.asarray(ids, dtype=np.int32)
            if joint is not None and cursor.documents:
                tokens = np.concatenate([joint, tokens])
            cursor = replace(
                cursor,
                file=document.file,
                record=document.record + 1,
                documents=cursor.documents + 1,
                skipped=skipped,
                share=min(1.0, document.read / size),
            )
            rest.append(tokens)
            held += len(tokens)
        if cursor.rows == 0:
            raise CorpusError(self._nothing(replace(cursor, tokens=held)))

    def _row(self, text: np.ndarray) -> np.ndarray:
        pad = self.eos if self.eos is not None else self.bos
        row = np.full(self.config.row_length, 0 if pad is None else pad, dtype=np.int64)
        at = int(self.config.bos == "prepend")
        if self.bos is not None and at:
            row[0] = self.bos
        row[at : at + len(text)] = text
        return row

    def _encoded(self, cursor: Cursor) -> Iterator[tuple[Document, list[int], dict[str, int]]]:
        """Documents with their ids and what had been skipped before them, tokenised a group at a time."""
        group: list[Document] = []
        skips: list[dict[str, int]] = [dict(self.skipped.counts)]
        size, broken = 0, None

        def flush() -> Iterator[tuple[Document, list[int], dict[str, int]]]:
            yield from zip(group, self.encode([d.text for d in group]), skips[1:], strict=True)

        found = documents(
            self.files,
            file=cursor.file,
            record=cursor.record,
            text_field=self.config.text_field,
            strict=self.config.strict,
            skipped=self.skipped,
        )
        try:
            for document in found:
                same = sum(skips[-1].values()) == self.skipped.counts.total()
                skips.append(skips[-1] if same else dict(self.skipped.counts))
                group.append(document)
                size += len(document.text)
                if size >= GROUP:
                    yield from flush()
                    group, skips, size = [], skips[-1:], 0
        except CorpusError as error:  # what came before the break is whole
            broken = error
        yield from flush()
        if broken is not None:
            raise broken

    def _nothing(self, cursor: Cursor) -> str:
        where = ", ".join(str(f) for f in self.files[:3]) + (" …" if len(self.files) > 3 else "")
        if cursor.documents:
            return (
                f"no rows in {where}: {cursor.documents} documents hold {cursor.tokens} tokens, a row needs "
                f"{self.config.row_length}. Pass a smaller --row-length, --packing document, or more text."
            )
        why = "; ".join(f"{n} records: {reason}" for reason, n in self.skipped.counts.items())
        first = next(iter(self.skipped.first.values()), "")
        field_help = " Pass --text-field NAME." if "field" in why or "column" in why else ""
        what = "; ".join(part for part in (why or "it is empty", first) if part)
        return f"no rows in {where}: it holds no document ({what}).{field_help}"


def batches(stream: RowStream, cursor: Cursor | None = None) -> Iterator[Batch]:
    """`stream.batches`, made in a thread that runs ahead, for this shard alone.

    Batches of other shards are made too, since their tokens decide where ours begin, but not handed out.
    """
    config = stream.config
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(AHEAD)
    stop = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            for batch in stream.batches(cursor):
                if stop.is_set():
                    return
                if batch.number % config.shards == config.shard:
                    put(batch)
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="rows", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join(timeout=5)


def _take(rest: deque[np.ndarray], n: int) -> np.ndarray:
    """The first n tokens of the buffer, taken out; what is left of an array stays a view of it."""
    taken = []
    while n:
        head = rest.popleft()
        taken.append(head[:n])
        if len(head) > n:
            rest.appendleft(head[n:])
        n -= len(taken[-1])
    return np.concatenate(taken) if taken else np.empty(0, np.int32)


def _batch(pending: list[tuple[np.ndarray, int]], after: Cursor) -> Batch:
    tokens = np.stack([row for row, _ in pending])
    length = np.array([n for _, n in pending], dtype=np.int64)
    chain = hashlib.sha256(bytes.fromhex(after.digest))
    chain.update(length.astype("<i8").tobytes())
    chain.update(tokens.astype("<u4").tobytes())
    rows = np.arange(after.rows - len(pending), after.rows, dtype=np.int64)
    return Batch(after.batches - 1, tokens, length, rows, replace(after, digest=chain.hexdigest()))
