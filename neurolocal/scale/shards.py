"""A corpus -> shards: consecutive batches, each shard with the cursor at which its worker begins.

One reader, the driver, tokenises the corpus once to find these cursors; workers begin with the first shards meanwhile.
Invariant: the shards depend on the rows and on the batches a shard alone, and an interrupted search resumes at any of
them. Cost: that of tokenising the corpus; a shard is a few numbers and the text between two batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neurolocal.errors import StoreError
from neurolocal.pipeline.batch_range import BatchRange, border

if TYPE_CHECKING:
    from neurolocal.corpus import Cursor, RowStream

LOOKED_AT = 100
"""Batches from which the size of a corpus is estimated."""


@dataclass(frozen=True)
class Shard:
    """Consecutive batches that one worker does."""

    number: int
    """Number of the shard, from 0."""
    begin: Cursor
    """Where it begins."""
    end: dict[str, Any]
    """What is known of the cursor behind it: see `pipeline.batch_range.border`."""
    last: bool
    """Whether it reaches the end of the corpus, or `max_rows`."""
    share: float = 0.0
    """Share of the corpus's bytes that was read at its end, for an estimate."""

    @property
    def part(self) -> BatchRange:
        """The batches."""
        return BatchRange(self.begin, None if self.last else self.end["batches"])

    @property
    def rows(self) -> int:
        """Its rows."""
        return self.end["rows"] - self.begin.rows


def find_shards(stream: RowStream, *, batches: int, begin: Cursor, number: int = 0) -> Iterator[Shard]:
    """The shards from a cursor on, of so many batches each; the last may have fewer.

    Args:
        stream: the rows.
        batches: batches of a shard.
        begin: where the first of them begins; at least one batch must follow.
        number: number of the first.

    Raises:
        CorpusError: the corpus cannot be read.
    """
    first, here = begin, begin
    for batch in stream.batches(begin):
        if here.batches - first.batches == batches:
            yield Shard(number, first, border(here), last=False, share=here.share)
            number, first = number + 1, here
        here = batch.after
    yield Shard(number, first, border(here), last=True, share=1.0)


def batches_of_a_shard(stream: RowStream, *, shards: int) -> int:
    """How many batches make about so many shards, estimated from the corpus's first batches."""
    here = None
    for here in stream.batches():
        if here.after.batches == LOOKED_AT:
            break
    after = here.after if here is not None else None
    assert after is not None, "a corpus without rows is an error of the stream"
    n = after.batches
    if stream.end is None and after.share > 0:  # not read to its end
        rows = after.rows / after.share
        limit = stream.config.max_rows
        n = max(n, math.ceil((rows if limit is None else min(rows, limit)) / stream.config.batch_size))
    return max(1, math.ceil(n / shards))


def as_json(shard: Shard) -> dict[str, Any]:
    """A shard as plain values."""
    from neurolocal.corpus import rest_arrays

    rest = {name: value if isinstance(value, list) else value.tolist() for name, value in
            rest_arrays(shard.begin.rest).items()}  # fmt: skip
    begin = shard.begin.facts() | {"rest": rest}
    return {"number": shard.number, "begin": begin, "end": shard.end, "last": shard.last, "share": shard.share}


def from_json(found: Any) -> Shard:
    """The inverse of `as_json`; the text may come from a damaged file.

    Raises:
        StoreError: it is no shard.
    """
    import numpy as np

    from neurolocal.corpus import Cursor, rest_from

    types = {"tokens": np.uint32, "character": np.int64, "offsets": np.int64, "file": np.int64, "record": np.int64}
    try:
        begin = dict(found["begin"])
        rest = {name: np.array(value, types[name]) if name in types else value for name, value in
                begin.pop("rest").items()}  # fmt: skip
        cursor = Cursor(**begin, rest=rest_from(rest))
        bytes.fromhex(cursor.digest)
        shard = Shard(found["number"], cursor, _border(found["end"]), found["last"] is True, float(found["share"]))
        if type(shard.number) is int and shard.number >= 0 and shard.rows > 0:
            return shard
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    raise StoreError("reading a shard: it is none. Delete the folder of shards to begin anew.")


def _border(found: Mapping[str, Any]) -> dict[str, Any]:
    names = ("file", "batches", "rows")
    if not all(type(found[name]) is int and found[name] >= 0 for name in names):
        raise ValueError(found)
    bytes.fromhex(found["digest"])
    return {**{name: found[name] for name in names}, "digest": found["digest"]}


def joins(a: Shard, b: Shard) -> bool:
    """Whether b begins where a ends."""
    return not a.last and b.number == a.number + 1 and border(b.begin) == a.end


def begins(shard: Shard) -> bool:
    """Whether a shard is the corpus's first."""
    return shard.number == 0 and shard.begin.batches == 0
