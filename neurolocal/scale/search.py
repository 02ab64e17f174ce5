"""The search for shards, shared out: workers tokenise sections of the corpus at the same time, and link them in order.

It knows neither Ray nor the workers' code: it says what is to be read or linked next, and is told what came of it.
Invariant: the shards depend on the corpus, the settings and the size of a section alone, so an interrupted search
finds the same ones; an error of a section counts when the sections before it are linked.
Cost: a thread that reads the corpus's text, without tokenising it; a few numbers a section.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neurolocal.errors import NeurolocalError
from neurolocal.scale.shards import Shard

if TYPE_CHECKING:
    from neurolocal.corpus import Cursor, KeptFile, KeptText, RowStream, Section, SkipCounts
    from neurolocal.corpus import Link as Linked

AHEAD = 64
"""Sections that are found before they are needed."""


@dataclass(frozen=True)
class Read:
    """Tokenise a section."""

    section: Section


@dataclass(frozen=True)
class Link:
    """Join a section to the rows before it."""

    section: Section
    begin: Cursor
    """Where the rows before it end."""
    text: KeptText
    """All text behind these, up to the end of the section."""


class Text(NamedTuple):
    """A section that is read."""

    section: Section
    file: KeptFile
    skipped: SkipCounts


class Found(NamedTuple):
    """What a link has found."""

    shard: Shard | None
    """The shard that ends in the section; None where the section is too short for one."""
    text: KeptText
    """The shard's text, tokenised; without a shard it is not needed any more."""


class Search:
    """The state of the search."""

    def __init__(
        self, stream: RowStream, *, size: int, sections: int, attempts: int, after: Shard | None
    ) -> None:  # fmt: skip
        """Begin.

        Args:
            stream: the rows.
            size: characters of a section, in the mean.
            sections: how many there are, by estimate.
            attempts: times that the reading of a section may fail.
            after: the last shard that is known.
        """
        from neurolocal.corpus import Cursor

        self.stream, self.over = stream, False
        self._begin = Cursor() if after is None else after.end
        self._next = 0 if after is None else after.section.number + 1
        self._number = 0 if after is None else after.number + 1
        self._tail: KeptFile | None = None
        self._skipped = dict(self._begin.skipped)
        self._sections, self._attempts, self._failures = sections, attempts, Counter[int]()
        self._unread: list[Section] = []
        self._running: dict[int, Read | Link] = {}
        self._read: dict[int, Text | str] = {}
        self._ahead: queue.Queue[Section | BaseException] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        how = size, None if after is None else after.section
        threading.Thread(target=self._look, args=how, name="sections", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Sections that are read, or are being read, and not linked yet."""
        return len(self._read) + sum(isinstance(job, Read) for job in self._running.values())

    @property
    def running(self) -> Iterable[int]:
        """The workers that read or link."""
        return self._running.keys()

    @property
    def control(self) -> int:
        """Control tokens in the documents that are linked."""
        return self._begin.control

    def next(self, *, room: int) -> Read | Link | None:
        """What a worker may do next; None: nothing for now.

        Args:
            room: sections that may be waiting; the one that is linked next is read even if as many others wait.

        Raises:
            NeurolocalError: the next section cannot be read.
        """
        if self.over:
            return None
        self._take()
        found = self._read.get(self._next)
        if isinstance(found, str):
            raise NeurolocalError(found)
        if found is not None:
            linking = any(isinstance(job, Link) for job in self._running.values())
            return None if linking else Link(found.section, self._begin, self._text(found.file))
        first = self._unread[0] if self._unread else None
        if first is None or room <= 0:
            return None
        ahead = self.waiting < room and self._wanted(first)
        return Read(first) if ahead or first.number == self._next else None

    def begin(self, worker: int, job: Read | Link) -> None:
        """A worker begins what `next` gave."""
        self._running[worker] = job
        if isinstance(job, Read):
            self._unread.remove(job.section)

    def done(self, worker: int, value: Any) -> Found | None:
        """A worker has done it; gives what a link has found."""
        job = self._running.pop(worker)
        if isinstance(job, Read):
            self._read[job.section.number] = Text(job.section, *value)
            return None
        return self._linked(job, value)

    def failed(self, worker: int, why: str, *, again: bool) -> None:
        """A worker could not do it, or is gone; it is tried some times, if that may help (`again`)."""
        job = self._running.pop(worker)
        number = job.section.number
        self._failures[number] += 1
        if not again or self._failures[number] >= self._attempts:
            self._read[number] = why
        elif isinstance(job, Read):
            self._unread = sorted([job.section, *self._unread], key=lambda section: section.number)

    def end(self) -> None:
        """End it."""
        self._stop.set()

    def _linked(self, job: Link, found: Linked) -> Found:
        text = self._read.pop(self._next)
        assert isinstance(text, Text)
        self._note(text.skipped, found)
        self._begin, self._tail, self._skipped = found.end, found.tail, found.skipped
        self._next, self.over = job.section.number + 1, found.tail is None
        if self.over:
            self.end()
        if found.end.rows == job.begin.rows:
            return Found(None, job.text)
        shard = Shard(self._number, job.begin, found.end, last=self.over, section=job.section)
        self._number += 1
        return Found(shard, job.text)

    def _note(self, skipped: SkipCounts, found: Linked) -> None:
        """Count what a section had of what is said at the end."""
        known = self.stream.skipped
        known.counts = Counter(found.skipped)
        known.first = skipped.first | known.first
        known.replaced += skipped.replaced
        known.cut += skipped.cut

    def _text(self, file: KeptFile) -> KeptText:
        """The text of the next shard. After an interruption its tail is lost, so it is tokenised again."""
        from neurolocal.corpus import KeptFile, KeptText

        tail = self._tail or (KeptFile(Path("lost"), 0) if self._begin.batches else None)
        here = replace(file, before=self._skipped)
        return KeptText((here,) if tail is None else (tail, here))

    def _wanted(self, section: Section) -> bool:
        """Whether a section is wanted, by estimate, before the end of the one before it is known."""
        return self.stream.config.max_rows is None or section.number < self._sections

    def _take(self) -> None:
        while True:
            try:
                one = self._ahead.get_nowait()
            except queue.Empty:
                return
            if isinstance(one, BaseException):
                raise one
            self._unread.append(one)

    def _look(self, size: int, after: Section | None) -> None:
        from neurolocal.corpus import find_sections

        try:
            for section in find_sections(self.stream, size=size, sections=self._sections, after=after):
                self._put(section)
                if self._stop.is_set():
                    return
        except BaseException as error:
            self._put(error)

    def _put(self, found: Section | BaseException) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._ahead.put(found, timeout=0.1)
                return
