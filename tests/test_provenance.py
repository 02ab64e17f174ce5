"""Tables of parts against plain lists: canonical however they are put together, and never believed unread."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.provenance import Parts

NAMES = st.sampled_from(["", "ArXiv", "Wiki", "日", "Pile-CC"])
NUMBERS = st.integers(0, 1 << 40)
PART = st.tuples(st.integers(1, 9), NUMBERS, NUMBERS, st.integers(-1, 1 << 40), NAMES)
ROWS = st.lists(st.lists(PART, min_size=1, max_size=4), max_size=6)


def table(rows):
    """Rows of (width, file, record, character, subset): widths become positions."""
    ends, parts = [], []
    for row in rows:
        at = 0
        for width, *rest in row:
            parts.append((at, *rest))
            at += width
        ends.append(len(parts))
    return Parts.of(ends, parts)


def plain(parts):
    """The rows as lists of (position, file, record, character, subset)."""
    columns = (parts.position, parts.file, parts.record, parts.character)
    flat = [
        (*numbers, parts.subsets[s])
        for *numbers, s in zip(*(c.tolist() for c in columns), parts.subset.tolist(), strict=True)
    ]
    return [flat[a:b] for a, b in zip(parts.offsets[:-1], parts.offsets[1:], strict=True)]


@settings(max_examples=100)
@given(rows=ROWS, cuts=st.lists(st.integers(0, 6), max_size=4))
def test_in_any_pieces_the_same(rows, cuts):
    whole = table(rows)
    at = [0, *sorted(cuts), len(rows)]
    pieces = [table(rows[a:b]) for a, b in itertools.pairwise(at)]
    assert Parts.concatenate(pieces) == whole
    assert Parts.concatenate([Parts.concatenate(pieces[:2]), Parts.empty(), *pieces[2:]]) == whole
    assert Parts.from_columns(whole.columns()) == whole
    assert len(whole) == len(rows)
    assert whole.subsets == tuple(sorted({part[-1] for row in rows for part in row}))
    assert [[p[1:] for p in row] for row in plain(whole)] == [[p[1:] for p in row] for row in rows]


@settings(max_examples=100)
@given(rows=ROWS, data=st.data())
def test_rows_taken_are_the_rows(rows, data):
    whole = table(rows)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), dtype=bool)
    assert whole.take(mask) == table([row for row, kept in zip(rows, mask, strict=True) if kept])
    numbers = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)) if rows else []
    assert whole.take(np.array(numbers, dtype=np.int64)) == table([rows[i] for i in numbers])


@settings(max_examples=100)
@given(rows=ROWS)
def test_at_finds_the_part_of_every_position(rows):
    whole = table(rows)
    asked = [(i, at) for i, row in enumerate(rows) for at in range(sum(part[0] for part in row) + 3)]
    wanted = [
        max(j for j in range(*whole.offsets[i : i + 2]) if whole.position[j] <= at)  # behind the last part: the last
        for i, at in asked
    ]
    where = np.array(asked, dtype=np.int64).reshape(-1, 2)
    assert whole.at(where[:, 0], where[:, 1]).tolist() == wanted
    assert whole.at(where[::-1, :1], where[::-1, 1:].astype(np.int32))[:, 0].tolist() == wanted[::-1]


def test_what_is_not_there():
    parts = table([[(3, 0, 0, 0, "a")], [(2, 0, 1, 0, "a"), (2, 0, 2, 0, "b")]])
    for wrong in (-1, 2):
        with pytest.raises(IndexError, match=f"{wrong}.* this table has 2"):
            parts.take(np.array([0, wrong]))
        with pytest.raises(IndexError, match="this table has 2"):
            parts.at(np.array([wrong]), np.array([0]))
    with pytest.raises(IndexError, match="a mask of 3 for 2 rows"):
        parts.take(np.ones(3, bool))
    with pytest.raises(IndexError, match="position -1: expected 0 or more"):
        parts.at(np.array([0]), np.array([-1]))
    assert parts != table([[(3, 0, 0, 0, "a")], [(2, 0, 1, 0, "a"), (2, 0, 2, 0, "c")]])
    assert parts != parts.take(np.array([0]))
    assert parts.take(np.array([0])).subsets == ("a",)


def changed(columns, name, at, value):
    columns[name] = columns[name].copy()
    columns[name][at] = value


HOSTILE = [
    (lambda c: c.pop("file"), "file is object with 0 dimensions; expected int64 with 1"),
    (lambda c: c.update(position=c["position"].astype(np.int64)), "position is int64"),
    (lambda c: c.update(record=c["record"][None]), "record is int64 with 2"),
    (lambda c: c.update(character=c["character"][1:]), "columns of different lengths"),
    (lambda c: changed(c, "offsets", 0, 1), "offsets that do not count"),
    (lambda c: changed(c, "offsets", 1, 0), "offsets that do not count"),
    (lambda c: changed(c, "offsets", 2, 9), "offsets that do not count"),
    (lambda c: c.update(offsets=np.empty(0, np.int64)), "offsets that do not count"),
    (lambda c: c.update(subsets=["b", "a"]), "not sorted and distinct"),
    (lambda c: c.update(subsets=["a", "a"]), "not sorted and distinct"),
    (lambda c: c.update(subsets=[1, 2]), "not sorted and distinct"),
    (lambda c: c.update(subsets=["a", "b", "c"]), "a subset that does not occur"),
    (lambda c: c.update(subsets=["a"]), "a subset without a name"),
    (lambda c: changed(c, "subset", 0, -1), "a subset without a name"),
    (lambda c: changed(c, "position", 1, 1), "first part does not begin it"),
    (lambda c: changed(c, "position", 2, 0), "parts of a row out of order"),
    (lambda c: changed(c, "position", 2, -(2**31)), "parts of a row out of order"),
    (lambda c: changed(c, "file", 1, -1), "below 0"),
    (lambda c: changed(c, "record", 1, -1), "below 0"),
    (lambda c: changed(c, "character", 1, -2), "below 0"),
]


@pytest.mark.parametrize(("damage", "message"), HOSTILE)
def test_damaged_columns_are_refused(damage, message):
    columns = table([[(3, 0, 0, 0, "a")], [(2, 0, 1, -1, "a"), (2, 0, 2, 0, "b")]]).columns()
    Parts.from_columns(columns)
    damage(columns)
    with pytest.raises(ValueError, match=message) as caught:
        Parts.from_columns(columns)
    assert str(caught.value).startswith("reading the parts of rows: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="a subset that does not occur"):
        Parts.from_columns(Parts.empty().columns() | {"subsets": ["a"]})
