"""Documents -> fixed-length rows -> batches, each with the cursor at which a run resumes after it.

Two packings. `concat`: documents are joined by EOS and cut into full rows, each with BOS in front. TransformerLens's
`tokenize_and_concatenate` does the same within one of its batches; here it covers the whole corpus, and only the
incomplete row at its end is dropped. `document`: no row holds two documents; a longer one continues in the next row, a
shorter one is padded at its end.
Invariant: rows, their indices and the cursor depend on the corpus, the tokenizer and the config alone, so every shard
sees the same batches and keeps its own.
Cost: a rolling buffer of one group of documents, or of one part of a long one; tokenising runs in a thread, `AHEAD`
batches ahead of the model.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import queue
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from neurolocal.config import CollectConfig
from neurolocal.corpus.conversations import TEMPLATE, Render
from neurolocal.corpus.cursor import Cursor, Piece
from neurolocal.corpus.parts import PART, Encode, Encoding, encode_part, parts
from neurolocal.corpus.readers import Document, SkipCounts, documents
from neurolocal.corpus.sizes import corpus_bytes
from neurolocal.errors import ConfigError, CorpusError
from neurolocal.provenance import Parts, labelled

GROUP = 1 << 18
"""Characters tokenised in one call: enough for the tokenizer's threads, and little to repeat after an interruption."""

SUBSETS = 1000
"""Names of subsets that are distinguished, the first in the corpus; a hostile corpus may have one for each document."""

OTHERS = "(others)"
"""The name for all further subsets."""

AHEAD = 8
"""Batches prepared before they are needed."""


@dataclass(frozen=True)
class Batch:
    """Some rows of the corpus."""

    number: int
    """Number of the batch in the corpus."""
    tokens: Int64[np.ndarray, "batch pos"]
    """Token ids; entries at and after `length` are padding, which earlier positions of a causal model do not see."""
    length: Int64[np.ndarray, "batch"]
    """Tokens of each row that are no padding."""
    rows: Int64[np.ndarray, "batch"]
    """Row indices, ascending."""
    parts: Parts
    """Which documents each row is made of."""
    after: Cursor
    """Where to resume after this batch."""


class _Encoded(NamedTuple):
    """A document, or a part of one, with its tokens."""

    document: Document
    encoding: Encoding
    skipped: dict[str, int]
    """Records skipped before the document, by reason."""
    begin: int
    """Its first character in the document."""
    end: int
    """The character behind its last."""


@dataclass
class RowStream:
    """The source of rows: files, tokenizer and conventions."""

    files: list[Path]
    encode: Encode
    bos: int | None
    eos: int | None
    config: CollectConfig
    render: Render | None = None
    """Writes a conversation as one text; None skips conversations."""
    encode_chat: Encode | None = None
    """Encodes what `render` wrote, whose control tokens are control tokens; None is `encode`."""
    special: Bool[np.ndarray, "d_vocab"] | None = None
    """Control tokens; those that documents write out are counted."""
    cuttable: bool = False
    """Whether a long text may be tokenised in parts with the same ids."""
    skipped: SkipCounts = field(default_factory=SkipCounts)
    """Records skipped so far."""
    end: Cursor | None = field(default=None, init=False)
    """The cursor after the last batch of all shards, once all batches have been consumed; else None."""

    def __post_init__(self) -> None:
        if self.config.bos == "prepend" and self.bos is None:
            raise ConfigError("bos = prepend, but the tokenizer has neither BOS nor EOS: pass --bos none")
        if self.config.packing == "concat" and self.eos is None and self.bos is None:
            raise ConfigError("packing = concat, but the tokenizer has no EOS to join by: pass --packing document")

    def batches(self, cursor: Cursor | None = None) -> Iterator[Batch]:
        """Every batch of the corpus after a cursor; the last may have fewer rows. Then `end` is set.

        Raises:
            CorpusError: the corpus cannot be read, or gives no row at all.
        """
        here = cursor or Cursor()
        self.end = None
        self.skipped.counts.clear()
        self.skipped.counts.update(here.skipped)
        limit = self.config.max_rows
        making, found = _BatchBuilder(self, here), self._encoded(here)
        size = max(1, corpus_bytes(self.files))
        while limit is None or here.rows < limit:
            wanted = self.config.batch_size if limit is None else min(self.config.batch_size, limit - here.rows)
            while not (full := making.cut(wanted)) and (item := next(found, None)):
                making.read(item, size=size)
            if not full and not making.rows:
                break
            batch = making.batch(here)
            here = batch.after
            yield batch
        if here.rows == 0:
            raise CorpusError(self._nothing(making.cursor.documents, making.held))
        self.end = here

    def _encoded(self, cursor: Cursor) -> Iterator[_Encoded]:
        """Documents with their encoding, tokenised a group at a time; long ones in parts."""
        group: list[Document] = []
        skips: list[dict[str, int]] = [dict(self.skipped.counts)]
        size, broken, begin, most = 0, None, cursor.character, min(PART, self.config.longest_text)

        def flush() -> Iterator[_Encoded]:
            for one, encoding, skipped in zip(group, self._encoded_group(group), skips[1:], strict=True):
                yield _Encoded(one, encoding, skipped, 0, len(one.text))

        found = documents(
            self.files,
            file=cursor.file,
            record=cursor.record,
            text_field=self.config.text_field,
            strict=self.config.strict,
            skipped=self.skipped,
            render=self.render,
            longest=self.config.longest_record,
        )
        try:
            for document in found:
                same = sum(skips[-1].values()) == self.skipped.counts.total()
                skipped = skips[-1] if same else dict(self.skipped.counts)
                if begin or len(document.text) > most:
                    yield from flush()
                    group, skips, size = [], [skipped], 0
                    yield from self._encoded_parts(document, skipped, begin)
                    begin = 0
                    continue
                skips.append(skipped)
                group.append(document)
                size += len(document.text)
                if size >= GROUP:
                    yield from flush()
                    group, skips, size = [], skips[-1:], 0
        except CorpusError as error:  # the documents before it are good
            broken = error
        yield from flush()
        if broken is not None:
            raise broken

    def _encoded_parts(self, document: Document, skipped: dict[str, int], begin: int) -> Iterator[_Encoded]:
        """A long document from a character on."""
        encode = self.encode_chat if document.roles and self.encode_chat is not None else self.encode
        text = document.text
        for part in parts(text, min(begin, len(text)), cuttable=self.cuttable, longest=self.config.longest_text):
            if not part.exact:
                self.skipped.cut[str(self.files[document.file])] += 1
            yield _Encoded(document, encode_part(text, part, encode), skipped, part.begin, part.end)

    def _encoded_group(self, group: list[Document]) -> list[Encoding]:
        chats = [i for i, d in enumerate(group) if d.roles]
        if not chats or self.encode_chat is None:
            return list(self.encode([d.text for d in group]))
        plain = [i for i, d in enumerate(group) if not d.roles]
        found = dict(zip(plain, self.encode([group[i].text for i in plain]), strict=True))
        found |= zip(chats, self.encode_chat([group[i].text for i in chats]), strict=True)
        return [found[i] for i in range(len(group))]

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
    """The batches of this shard from `stream.batches`, made in a thread that runs ahead.

    Batches of other shards are made too, since their tokens decide where ours begin, but are not returned. `stream.end`
    is set when the last batch has been consumed, not when the thread has reached it.
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


class _BatchBuilder:
    """The text that is in no row yet, and the rows of the batch that is being made of it."""

    def __init__(self, stream: RowStream, cursor: Cursor) -> None:
        self.config, self.cursor, self.held = stream.config, cursor, sum(len(piece.tokens) for piece in cursor.rest)
        self._rest = deque(cursor.rest)
        self._known = set(cursor.subsets)  # the rest belongs to a document that was begun, so its subset is among these
        self._whole, self._special = self.config.packing == "concat", stream.special
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
        self._behind = self.cursor  # the cursor when the last row was cut

    @property
    def rows(self) -> int:
        """Rows of the batch so far."""
        return len(self._length)

    def read(self, item: _Encoded, *, size: int) -> None:
        """Add the next document or part of one; `size` is the size of the corpus in bytes."""
        document, encoded, cursor = item.document, item.encoding, self.cursor
        tokens = np.asarray(encoded[0], dtype=np.int32)
        control = 0 if self._special is None or document.roles else int(self._special[tokens].sum())
        character = np.full(len(tokens), -1) if encoded[1] is None else np.asarray(encoded[1], dtype=np.int64)
        if self._whole and cursor.documents and not item.begin:
            tokens = np.concatenate([self._joint, tokens])
            character = np.concatenate([np.full(1, -1 if encoded[1] is None else 0), character])
        for subset, begin, end in _by_role(document, character):
            if subset not in self._known and len(self._known) >= SUBSETS:
                subset = OTHERS
            self._known.add(subset)
            part = slice(begin, end)
            self._rest.append(Piece(tokens[part], character[part], document.file, document.record, subset))
        self.held += len(tokens)
        whole, n = item.end == len(document.text), max(1, len(document.text))
        read = min(1.0, document.read / size)
        self.cursor = replace(
            cursor,
            file=document.file,
            record=document.record + whole,
            character=0 if whole else item.end,
            documents=cursor.documents + (not item.begin),
            skipped=item.skipped,
            control=cursor.control + control,
            share=read if whole else cursor.share + (read - cursor.share) * (item.end - item.begin) / (n - item.begin),
        )

    def cut(self, wanted: int) -> bool:
        """Cut rows until the batch has as many as wanted; returns whether it has."""
        fill, before = self.config.row_length - self._head, self.rows
        while self.rows < wanted and self.held:
            n = min(fill, self.held if self._whole else self._next_document())
            if n < fill and (self._whole or self._goes_on()):
                break
            self._row(n)
        if self.rows > before:
            self._behind = replace(self.cursor, rest=tuple(self._rest))
        return self.rows == wanted

    def _next_document(self) -> int:
        """Tokens of the next document that are in no row yet."""
        first = self._rest[0]
        same = itertools.takewhile(lambda p: (p.file, p.record) == (first.file, first.record), self._rest)
        return sum(len(piece.tokens) for piece in same)

    def _goes_on(self) -> bool:
        """Whether the next document is one of which a part is still to come."""
        cursor, first = self.cursor, self._rest[0]
        return cursor.character > 0 and (first.file, first.record) == (cursor.file, cursor.record)

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


def _by_role(document: Document, character: Int64[np.ndarray, "n"]) -> Iterator[tuple[str, int, int]]:
    """The stretches of a document's tokens that are of one role: their subset, and their half-open range.

    A token is of the role in whose message it begins. A document that is no conversation is one stretch, and so is one
    whose tokens have no known place.
    """
    n = len(character)
    if not document.roles or not n or character[-1] < 0:
        yield from ((document.subset, 0, n),) if n else ()
        return
    starts = np.searchsorted(character, np.array([span[:2] for span in document.roles]))
    names = [labelled(document.subset, TEMPLATE), *(labelled(document.subset, span[2]) for span in document.roles)]
    which = np.zeros(n, np.int64)
    for i, (begin, end) in enumerate(starts.tolist()):
        which[begin:end] = i + 1
    edges = [0, *(np.flatnonzero(np.diff(which)) + 1).tolist(), n]
    for begin, end in itertools.pairwise(edges):
        yield names[which[begin]], begin, end
