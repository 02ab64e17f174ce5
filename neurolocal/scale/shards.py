"""A shard: consecutive batches of a corpus, with the cursor at which they begin and the one behind them.

Invariant: shards join, so together they are the batches of a single process; a shard that is read back from a file is
one that could have been written. Cost: a few numbers and the text between two batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from neurolocal.errors import StoreError
from neurolocal.pipeline.batch_range import border

if TYPE_CHECKING:
    from neurolocal.corpus import Cursor, Section


@dataclass(frozen=True)
class Shard:
    """Consecutive batches that one worker does."""

    number: int
    """Number of the shard, from 0."""
    begin: Cursor
    """Where it begins."""
    end: Cursor
    """Where it ends."""
    last: bool
    """Whether it reaches the end of the corpus, or `max_rows`."""
    section: Section
    """The text in which it ends, behind which the next one is looked for."""

    @property
    def rows(self) -> int:
        """Its rows."""
        return self.end.rows - self.begin.rows


def as_json(shard: Shard) -> dict[str, Any]:
    """A shard as plain values."""
    return {
        "number": shard.number, "begin": _facts(shard.begin), "end": _facts(shard.end), "last": shard.last,
        "section": asdict(shard.section),
    }  # fmt: skip


def _facts(cursor: Cursor) -> dict[str, Any]:
    from neurolocal.corpus import rest_arrays

    rest = {name: value if isinstance(value, list) else value.tolist() for name, value in
            rest_arrays(cursor.rest).items()}  # fmt: skip
    return cursor.facts() | {"rest": rest, "share": cursor.share}


def from_json(found: Any) -> Shard:
    """The inverse of `as_json`; the text may come from a damaged file.

    Raises:
        StoreError: it is no shard.
    """
    try:
        begin, end, section = _cursor(found["begin"]), _cursor(found["end"]), _section(found["section"])
        shard = Shard(found["number"], begin, end, found["last"] is True, section)
        if type(shard.number) is int and shard.number >= 0 and shard.rows > 0:
            return shard
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    raise StoreError("reading a shard: it is none. Delete the folder of shards to begin anew.")


def _cursor(found: Mapping[str, Any]) -> Cursor:
    import numpy as np

    from neurolocal.corpus import Cursor, rest_from

    types = {"tokens": np.uint32, "character": np.int64, "offsets": np.int64, "file": np.int64, "record": np.int64}
    facts = dict(found)
    rest = {name: np.array(value, types[name]) if name in types else value for name, value in
            facts.pop("rest").items()}  # fmt: skip
    share = float(facts.pop("share"))
    cursor = Cursor(**facts)
    for name in ("file", "record", "character", "rows", "batches", "documents", "tokens", "control"):
        if type(facts[name]) is not int or facts[name] < 0:
            raise ValueError(found)
    if not all(type(n) is int for counts in (cursor.skipped, cursor.subsets) for n in counts.values()):
        raise ValueError(found)
    bytes.fromhex(cursor.digest)
    return replace(cursor, rest=rest_from(rest), share=share)


def _section(found: Mapping[str, Any]) -> Section:
    from neurolocal.corpus import Section

    number, begin, end = found["number"], found["begin"], found["end"]
    (a, b), (c, d) = begin, (0, 0) if end is None else end
    if not all(type(n) is int and n >= 0 for n in (number, a, b, c, d)):
        raise ValueError(found)
    return Section(number, (a, b), None if end is None else (c, d))


def joins(a: Shard, b: Shard) -> bool:
    """Whether b begins where a ends."""
    return not a.last and b.number == a.number + 1 and border(b.begin) == border(a.end)


def begins(shard: Shard) -> bool:
    """Whether a shard is the corpus's first."""
    return shard.number == 0 and shard.begin.batches == 0
