"""Text that is tokenised before the text in front of it: its ids in a file, which is read in place of the corpus.

Rows depend on all text before them, the ids of a document do not. So sections of a corpus are tokenised at the same
time (`keep`), and joined in their order (`link`), which takes a few percent of that time: it cuts rows and hashes them.
A link ends before its section's last batch, so there are always rows behind it; the documents of these, its tail,
begin the next section's text.
The file: of each document, or part of one, a line `CRC-32 of what follows, JSON` and its ids and, where they are
known, their characters, both uint32 little-endian; at the end a line with the records that were skipped.
Invariant: what is read back is what was tokenised, or an error; whoever meets it can tokenise instead.
Cost: 8 bytes a token on the disk; memory for one document or part, and for a tail.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from neurolocal.corpus.cursor import Cursor
from neurolocal.corpus.encoded import Encoded, Source
from neurolocal.corpus.parts import Encoding
from neurolocal.corpus.readers import SkipCounts
from neurolocal.corpus.sections import Section
from neurolocal.errors import StoreError
from neurolocal.files import replacing

if TYPE_CHECKING:
    from neurolocal.corpus.stream import RowStream

LINE = 1 << 24
"""Longest line of JSON that is read; the longest has the roles of a conversation."""


@dataclass(frozen=True)
class KeptFile:
    """Documents with their ids, in a file."""

    path: Path
    """The file."""
    bytes: int
    """Its size."""
    before: dict[str, int] = field(default_factory=dict)
    """Records skipped before it, by reason; what it says of its own is added."""

    def items(self, skipped: SkipCounts) -> Iterator[Encoded]:
        """The documents; at the end `skipped` counts the records skipped by then.

        Raises:
            StoreError: the file is missing or damaged.
        """
        try:
            with self.path.open("rb") as file:
                facts, encoding = self._next(file)
                while encoding is not None:
                    source = Source(**facts["document"])
                    source = source._replace(roles=tuple((a, b, role) for a, b, role in source.roles))
                    counts = self._counted(facts)
                    yield Encoded(source, encoding, counts, facts["begin"], facts["end"])
                    facts, encoding = self._next(file)
                skipped.counts.clear()
                skipped.counts.update(self._counted(facts))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"reading {self.path}: {error}. It is tokenised text, and is made again.") from error

    def _next(self, file: BinaryIO) -> tuple[dict[str, Any], Encoding | None]:
        """The next document's facts and ids; no ids at the end."""
        line = file.readline(LINE)
        crc, text = int(line[:8], 16), line[9:]
        facts = json.loads(text)
        n, known = facts.get("n", 0), facts.get("known", False)
        size = n * 4 * (1 + known)
        if not 0 <= size <= self.bytes:
            raise ValueError(f"{n} tokens in a file of {self.bytes} bytes")
        data = file.read(size)
        if len(data) != size or zlib.crc32(data, zlib.crc32(text)) != crc:
            raise ValueError("it is not what was written")
        if "n" not in facts:
            return facts, None
        numbers = np.frombuffer(data, "<u4")
        return facts, (numbers[:n].astype(np.int32), numbers[n:].astype(np.int64) if known else None)

    def _counted(self, facts: dict[str, Any]) -> dict[str, int]:
        own: dict[str, int] = facts["skipped"]
        return {reason: self.before.get(reason, 0) + own.get(reason, 0) for reason in (self.before | own)}


@dataclass(frozen=True)
class KeptText:
    """Files that join."""

    files: tuple[KeptFile, ...]

    def items(self, cursor: Cursor, skipped: SkipCounts) -> Iterator[Encoded]:
        """The documents behind a cursor."""
        here = (cursor.file, cursor.record, cursor.character)
        for file in self.files:
            for item in file.items(skipped):
                if (item.document.file, item.document.record, item.begin) >= here:
                    yield item


def keep(stream: RowStream, section: Section, path: Path) -> tuple[KeptFile, SkipCounts]:
    """Tokenise a section into a file; gives it, and the records that were skipped in it.

    Raises:
        CorpusError: the corpus cannot be read.
        StoreError: the file cannot be written.
    """
    stream = replace(stream, skipped=SkipCounts())
    begin = Cursor(file=section.begin[0], record=section.begin[1])
    return _write(path, stream.encoded(begin, until=section.end), stream.skipped), stream.skipped


class Link(NamedTuple):
    """Where the rows of a section end."""

    end: Cursor
    """Behind its last batch but one, or at the end of the corpus or of `max_rows`; `begin` where it has no more."""
    tail: KeptFile | None
    """Its documents that stand behind `end`; None: there are no more rows."""
    skipped: dict[str, int]
    """Records skipped by the end of the section, by reason."""


def link(stream: RowStream, section: Section, begin: Cursor, *, text: KeptText, tail: Path) -> Link:
    """Join a section to the rows before it; where its kept text is damaged, the corpus is tokenised.

    Args:
        stream: the rows.
        section: the section.
        begin: the end of the link before.
        text: the tail of the link before, and the section.
        tail: where the tail is written.

    Raises:
        CorpusError: the corpus cannot be read, or gives no row at all.
        StoreError: the tail cannot be written.
    """
    skipped = SkipCounts(Counter(begin.skipped))
    try:
        end, behind = _link(
            replace(stream, skipped=skipped), text.items(begin, skipped), begin, last=section.end is None
        )
    except StoreError:
        skipped = SkipCounts(Counter(begin.skipped))
        stream = replace(stream, skipped=skipped)
        end, behind = _link(stream, stream.encoded(begin, until=section.end), begin, last=section.end is None)
    return Link(end, None if behind is None else _write(tail, behind, skipped), dict(skipped.counts))


def _link(
    stream: RowStream, items: Iterator[Encoded], begin: Cursor, *, last: bool
) -> tuple[Cursor, list[Encoded] | None]:  # fmt: skip
    """The end of the link, and the documents behind it."""
    behind, taken, dropped = deque[Encoded](), 0, 0

    def noted() -> Iterator[Encoded]:
        nonlocal taken
        for item in items:
            behind.append(item)
            taken += 1
            yield item

    end, newest, used = begin, begin, 0
    making = stream.builder(begin)
    for batch in stream.packed(noted(), making):
        end, newest = newest, batch.after
        for _ in range(used - dropped):
            behind.popleft()
        dropped, used = used, taken
    if last or newest.rows == stream.config.max_rows:
        stream.require_rows(making)
        return newest, None
    return end, list(behind)


def _write(path: Path, items: Iterable[Encoded], skipped: SkipCounts) -> KeptFile:
    """Write documents to a file, and the counts as they are behind the last."""
    with replacing(path, doing="writing tokenised text", error=StoreError, durable=False) as beside:
        with beside.open("wb") as file:
            for ids, facts in map(_facts, items):
                _put(file, facts, ids)
            _put(file, {"skipped": dict(skipped.counts)}, b"")
        return KeptFile(path, beside.stat().st_size)


def _facts(item: Encoded) -> tuple[bytes, dict[str, Any]]:
    """A document's numbers, and what its line says."""
    ids, characters = item.encoding
    data = np.asarray(ids).astype("<u4").tobytes()
    if characters is not None:
        data += np.asarray(characters).astype("<u4").tobytes()
    return data, {
        "n": len(ids), "known": characters is not None, "document": item.document._asdict(), "begin": item.begin,
        "end": item.end, "skipped": item.skipped,
    }  # fmt: skip


def _put(file: BinaryIO, facts: dict[str, Any], data: bytes) -> None:
    text = json.dumps(facts).encode() + b"\n"
    file.write(b"%08x %b%b" % (zlib.crc32(data, zlib.crc32(text)), text, data))
