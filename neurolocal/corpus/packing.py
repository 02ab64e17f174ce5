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
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Int64

from neurolocal.config import CollectConfig
from neurolocal.corpus.cursor import Cursor, Piece
from neurolocal.corpus.readers import Document, Skipped, corpus_bytes, documents
from neurolocal.errors import ConfigError, CorpusError
from neurolocal.provenance import Parts

Encoded = tuple[Int32[np.ndarray, "n"], Int64[np.ndarray, "n"] | None]
"""A text's token ids, without special tokens, and where in it each begins, in code points; None where unknown."""

Encode = Callable[[list[str]], Sequence[Encoded]]
"""Texts -> ids and places of each."""

GROUP = 1 << 18
"""Characters tokenised in one call: enough for the tokenizer's threads, little to redo after a stop."""

SUBSETS = 1000
"""Names of subsets told apart, the first in the corpus; a hostile corpus may have one a document."""

OTHERS = "(others)"
"""The name of all further subsets."""

AHEAD = 8
"""Batches made ready before they are asked for."""


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
    parts: Parts
    """Which documents each row is made of."""
    after: Cursor
    """Where to go on behind this batch."""


@dataclass
class RowStream:
    """What makes rows: the files, the tokenizer, and the conventions."""

    files: list[Path]
    encode: Encode
    bos: int | None
    eos: int | None
    config: CollectConfig
    skipped: Skipped = field(default_factory=Skipped)
    """What was passed over so far."""
    end: Cursor | None = field(default=None, init=False)
    """The cursor behind the last batch of all, whichever shard's it is, once all have been asked for; else None."""

    def __post_init__(self) -> None:
        if self.config.bos == "prepend" and self.bos is None:
            raise ConfigError("bos = prepend, but the tokenizer has neither BOS nor EOS: pass --bos none")
        if self.config.packing == "concat" and self.eos is None and self.bos is None:
            raise ConfigError("packing = concat, but the tokenizer has no EOS to join by: pass --packing document")

    def batches(self, cursor: Cursor | None = None) -> Iterator[Batch]:
        """Every batch of the corpus behind a cursor; the last may hold fewer rows. Then `end` is set.

        Raises:
            CorpusError: the corpus cannot be read, or gives no row at all.
        """
        here = cursor or Cursor()
        self.end = None
        self.skipped.counts.clear()
        self.skipped.counts.update(here.skipped)
        limit = self.config.max_rows
        making, found = _Making(self, here), self._encoded(here)
        size = max(1, corpus_bytes(self.files))
        while limit is None or here.rows < limit:
            wanted = self.config.batch_size if limit is None else min(self.config.batch_size, limit - here.rows)
            while not (full := making.cut(wanted)) and (item := next(found, None)):
                making.read(*item, size=size)
            if not full and not making.rows:
                break
            batch = making.batch(here)
            here = batch.after
            yield batch
        if here.rows == 0:
            raise CorpusError(self._nothing(making.cursor.documents, making.held))
        self.end = here

    def _encoded(self, cursor: Cursor) -> Iterator[tuple[Document, Encoded, dict[str, int]]]:
        """Documents with their ids and what had been skipped before them, tokenised a group at a time."""
        group: list[Document] = []
        skips: list[dict[str, int]] = [dict(self.skipped.counts)]
        size, broken = 0, None

        def flush() -> Iterator[tuple[Document, Encoded, dict[str, int]]]:
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

    def _nothing(self, documents: int, tokens: int) -> str:
        where = ", ".join(str(f) for f in self.files[:3]) + (" …" if len(self.files) > 3 else "")
        if documents:
            return (
                f"no rows in {where}: {documents} documents hold {tokens} tokens, a row needs "
                f"{self.config.row_length}. Pass a smaller --row-length, --packing document, or more text."
            )
        why = "; ".join(f"{n} records: {reason}" for reason, n in self.skipped.counts.items())
        first = next(iter(self.skipped.first.values()), "")
        field_help = " Pass --text-field NAME." if "field" in why or "column" in why else ""
        what = "; ".join(part for part in (why or "it is empty", first) if part)
        return f"no rows in {where}: it holds no document ({what}).{field_help}"


def batches(stream: RowStream, cursor: Cursor | None = None) -> Iterator[Batch]:
    """`stream.batches`, made in a thread that runs ahead, for this shard alone.

    Batches of other shards are made too, since their tokens decide where ours begin, but not handed out. `stream.end`
    is set when the last batch has been asked for, not when the thread has come so far.
    """
    config, ahead = stream.config, replace(stream)
    stream.end = None
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(AHEAD)
    stop = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            for batch in ahead.batches(cursor):
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
        stream.end = ahead.end
    finally:
        stop.set()
        thread.join(timeout=5)


class _Making:
    """Documents that wait for a row, and the rows of the batch that is being made of them."""

    def __init__(self, stream: RowStream, cursor: Cursor) -> None:
        self.config, self.cursor, self.held = stream.config, cursor, sum(len(piece.tokens) for piece in cursor.rest)
        self._rest = deque(cursor.rest)
        self._known = set(cursor.subsets)  # the rest is the end of a document, so its subset is among them
        self._whole = self.config.packing == "concat"
        joint = stream.eos if stream.eos is not None else stream.bos
        self._joint = np.array([joint], dtype=np.int32) if self._whole else np.empty(0, np.int32)
        self._blank = np.full(self.config.row_length, joint or 0, dtype=np.int64)
        self._head = int(self.config.bos == "prepend")
        self._blank[: self._head] = stream.bos or 0
        self._begin()

    def _begin(self) -> None:
        self._tokens = np.tile(self._blank, (self.config.batch_size, 1))
        self._length: list[int] = []
        self._ends: list[int] = []
        self._parts: list[tuple[int, int, int, int, str]] = []
        self._counts: Counter[str] = Counter()
        self._behind = self.cursor  # what was known when the last row was cut

    @property
    def rows(self) -> int:
        """Rows of the batch so far."""
        return len(self._length)

    def read(self, document: Document, encoded: Encoded, skipped: dict[str, int], *, size: int) -> None:
        """Take in the next document; `size` is the corpus's in bytes."""
        tokens = np.asarray(encoded[0], dtype=np.int32)
        character = np.full(len(tokens), -1) if encoded[1] is None else np.asarray(encoded[1], dtype=np.int64)
        if self._whole and self.cursor.documents:
            tokens = np.concatenate([self._joint, tokens])
            character = np.concatenate([np.full(1, -1 if encoded[1] is None else 0), character])
        if len(tokens):
            subset = document.subset
            if subset not in self._known and len(self._known) >= SUBSETS:
                subset = OTHERS
            self._known.add(subset)
            self._rest.append(Piece(tokens, character, document.file, document.record, subset))
            self.held += len(tokens)
        self.cursor = replace(
            self.cursor,
            file=document.file,
            record=document.record + 1,
            documents=self.cursor.documents + 1,
            skipped=skipped,
            share=min(1.0, document.read / size),
        )

    def cut(self, wanted: int) -> bool:
        """Make rows of what waits, until the batch has as many as wanted; whether it has."""
        fill, before = self.config.row_length - self._head, self.rows
        while self.rows < wanted and (self.held >= fill or (self.held and not self._whole)):
            self._row(min(fill, self.held if self._whole else len(self._rest[0].tokens)))
        if self.rows > before:
            self._behind = replace(self.cursor, rest=tuple(self._rest))
        return self.rows == wanted

    def _row(self, n: int) -> None:
        row, at, begin = self._tokens[self.rows], self._head, 0
        self.held -= n
        while n:
            piece = self._rest[0]
            k = min(n, len(piece.tokens))
            row[at : at + k] = piece.tokens[:k]
            self._parts.append((begin, piece.file, piece.record, int(piece.character[0]), piece.subset))
            self._counts[piece.subset] += k
            if k == len(piece.tokens):
                self._rest.popleft()
            else:
                self._rest[0] = piece.behind(k)
            n, at = n - k, at + k
            begin = at
        self._length.append(at)
        self._ends.append(len(self._parts))

    def batch(self, before: Cursor) -> Batch:
        """The rows cut so far, as the batch behind a cursor; the next one is begun."""
        tokens, length = self._tokens[: self.rows], np.array(self._length, dtype=np.int64)
        chain = hashlib.sha256(bytes.fromhex(before.digest))
        chain.update(length.astype("<i8").tobytes())
        chain.update(tokens.astype("<u4").tobytes())
        after = replace(
            self._behind,
            rows=before.rows + self.rows,
            batches=before.batches + 1,
            tokens=before.tokens + self._counts.total(),
            digest=chain.hexdigest(),
            subsets=dict(sorted((self._counts + Counter(before.subsets)).items())),
        )
        rows = np.arange(before.rows, after.rows, dtype=np.int64)
        batch = Batch(before.batches, tokens, length, rows, Parts.of(self._ends, self._parts), after)
        self._begin()
        return batch
