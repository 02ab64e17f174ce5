"""Documents -> their token ids, a group at a time, in several threads if wished, in the order of the corpus.

A group holds some short documents, or one part of a long one. Documents that are token ids already are parts of groups
as they are.
Invariant: the ids, their order, and where an error is raised do not depend on the number of threads.
Cost: memory for one group, or for two a thread.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from neurolocal.corpus.parts import PART, Encode, Encoding, Part, encode_part, parts
from neurolocal.corpus.readers import Document, SkipCounts
from neurolocal.corpus.sizes import CorpusFile

GROUP = 1 << 18
"""Characters tokenised in one call: enough for the tokenizer's threads, and little to repeat after an interruption."""

IDS = 1 << 16
"""Token ids of a document that are taken at once; those of some `GROUP` characters."""


class Encoded(NamedTuple):
    """A document, or a part of one, with its tokens."""

    document: Document
    encoding: Encoding
    skipped: dict[str, int]
    """Records skipped before the document, by reason."""
    begin: int
    """Its first character in the document, or its first token of those that the document consists of."""
    end: int
    """The character or token behind its last."""


Work = Callable[[], list[Encoded]]
"""Tokenises a group."""


@dataclass(frozen=True)
class Groups:
    """How documents are put into groups and tokenised."""

    files: Sequence[CorpusFile]
    encode: Encode
    encode_chat: Encode
    """Encodes conversations."""
    cuttable: bool
    """Whether a long text may be tokenised in parts with the same ids."""
    longest: int
    """Most characters that are tokenised at once."""

    def of(self, documents: Iterable[Document], skipped: SkipCounts, *, begin: int) -> Iterator[Work]:
        """Every group of some documents; of the first one what stands behind `begin`. An error comes in its place.

        `skipped` counts the records that the documents' source has skipped so far; cuts are added to it.
        """
        most, group, size = min(PART, self.longest), list[tuple[Document, dict[str, int]]](), 0
        counts = dict(skipped.counts)
        try:
            for document in documents:
                counts = counts if sum(counts.values()) == skipped.counts.total() else dict(skipped.counts)
                if begin or document.size > (most if document.tokens is None else IDS):
                    if group:
                        yield self._group(group)
                        group, size = [], 0
                    yield from self._long(document, counts, skipped.cut, begin)
                    begin = 0
                    continue
                group.append((document, counts))
                size += document.size
                if size >= GROUP:
                    yield self._group(group)
                    group, size = [], 0
        except Exception:  # the documents before it are good
            if group:
                yield self._group(group)
            raise
        if group:
            yield self._group(group)

    def _group(self, group: list[tuple[Document, dict[str, int]]]) -> Work:
        def work() -> list[Encoded]:
            found: dict[int, Encoding] = {i: (d.tokens, None) for i, (d, _) in enumerate(group) if d.tokens is not None}
            for encode, chats in ((self.encode, False), (self.encode_chat, True)):
                which = [i for i, (d, _) in enumerate(group) if d.tokens is None and bool(d.roles) == chats]
                if which:
                    found |= zip(which, encode([group[i][0].text for i in which]), strict=True)
            return [Encoded(d, found[i], counts, 0, d.size) for i, (d, counts) in enumerate(group)]

        return work

    def _long(self, document: Document, counts: dict[str, int], cut: Counter[str], begin: int) -> Iterator[Work]:
        """A long document from a character or token on, a part at a time."""
        begin = min(begin, document.size)
        if document.tokens is not None:
            for at in range(begin, max(document.size, begin + 1), IDS):
                yield _part_of_ids(document, counts, at, min(at + IDS, document.size))
            return
        for part in parts(document.text, begin, cuttable=self.cuttable, longest=self.longest):
            if not part.exact:
                cut[str(self.files[document.file])] += 1
            yield self._part(document, counts, part)

    def _part(self, document: Document, counts: dict[str, int], part: Part) -> Work:
        encode = self.encode_chat if document.roles else self.encode
        return lambda: [
            Encoded(document, encode_part(document.text, part, encode), counts, part.begin, part.end)
        ]  # fmt: skip


def _part_of_ids(document: Document, counts: dict[str, int], begin: int, end: int) -> Work:
    assert document.tokens is not None
    found = [Encoded(document, (document.tokens[begin:end], None), counts, begin, end)]
    return lambda: found


def in_order(groups: Iterator[Work], threads: int) -> Iterator[Encoded]:
    """The groups' documents, in order; with several threads, as many groups are tokenised at the same time.

    An error of a group, or of the source of groups, is raised behind all that stands before it.
    """
    if threads == 1:
        for work in groups:
            yield from work()
        return
    waiting, broken, more = deque[Future[list[Encoded]]](), None, True
    with ThreadPoolExecutor(threads, thread_name_prefix="tokenise") as pool:
        try:
            while True:
                while more and len(waiting) < 2 * threads:
                    try:
                        work = next(groups, None)
                    except Exception as error:
                        work, broken = None, error
                    more = work is not None
                    if work is not None:
                        waiting.append(pool.submit(work))
                if not waiting:
                    break
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    if broken is not None:
        raise broken
