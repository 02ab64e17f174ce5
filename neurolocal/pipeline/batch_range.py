"""A range of a corpus's batches: the part of a collection that one worker does.

A range begins at a cursor, so nothing before it is tokenised. It states the digest of the text before it and after it:
ranges that join have the same digest at their border, which proves that they were read from one text.
Invariant: the ranges of a corpus, merged in any grouping, are the store of a single run, bit for bit.
Cost: a cursor. To begin, a worker skips the records before it in one file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from neurolocal.errors import StoreError

if TYPE_CHECKING:
    from neurolocal.corpus import Batch, Cursor, KeptText, RowStream


@dataclass(frozen=True)
class BatchRange:
    """Consecutive batches of a corpus."""

    begin: Cursor
    """The cursor before its first batch."""
    end: int | None
    """Number of the batch behind its last; None is the end of the corpus or `max_rows`."""
    kept: KeptText | None = None
    """Its text where that is tokenised already."""

    def facts(self, after: Cursor) -> dict[str, Any]:
        """What the manifest of a store says of it, with the cursor after the last batch read."""
        return {"begin": border(self.begin), "end": border(after), "last": self.end is None}

    def batches(self, stream: RowStream, cursor: Cursor, *, process: bool) -> Iterator[Batch]:
        """Its batches behind a cursor that lies in it."""
        from neurolocal.corpus import batches

        left = None if self.end is None else self.end - cursor.batches
        if left == 0:
            return
        stream.kept = self.kept
        with closing(batches(stream, cursor, process=process)) as found:
            yield from islice(found, left)


def border(cursor: Cursor) -> dict[str, Any]:
    """What a cursor says of the text before it."""
    return {"file": cursor.file, "batches": cursor.batches, "rows": cursor.rows, "digest": cursor.digest}


def range_of(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The range that a store's manifest states; None where it holds whole corpora, or a shard of every n-th batch.

    Raises:
        StoreError: it states an impossible one.
    """
    found = manifest.get("range")
    if found is None:
        return None
    try:
        begin, end = found["begin"], found["end"]
        numbers = [one[name] for one in (begin, end) for name in ("file", "batches", "rows")]
        texts = [bytes.fromhex(one["digest"]) for one in (begin, end)]
        known = all(type(n) is int and n >= 0 for n in numbers) and type(found["last"]) is bool
        if known and begin["batches"] <= end["batches"] and all(len(text) in (0, 32) for text in texts):
            return found
    except (KeyError, TypeError, ValueError):
        pass
    raise StoreError("reading the range of a store: its manifest states none that can be. Collect that part again.")
