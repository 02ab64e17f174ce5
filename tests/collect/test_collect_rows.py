"""The buffer of rows keeps exactly the rows that are referred to, with their documents, in ascending order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.collect import rows as module
from neurolocal.collect.rows import RowBuffer
from neurolocal.provenance import Parts


def batch(numbers: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, Parts]:
    """Rows of 3 whose tokens, length, document and subset follow from their number."""
    index = np.array(numbers, np.int64)
    parts = Parts.of(range(1, len(numbers) + 1), [(0, 0, n, 2 * n, str(n % 3)) for n in numbers])
    return index[:, None] + np.arange(3), 1 + index % 3, index, parts


@given(st.sets(st.integers(0, 200), min_size=1), st.lists(st.integers(1, 9), max_size=9), st.data())
def test_after_pruning_the_rows_are_those_referred_to(numbers, sizes, data):
    left, held = sorted(numbers), RowBuffer(3, d_vocab=1000)
    seen: list[int] = []
    for size in [*sizes, len(left)]:
        some, left = left[:size], left[size:]
        held.add(*batch(some))
        seen += some
        if data.draw(st.booleans()):
            seen = sorted(data.draw(st.sets(st.sampled_from(seen)))) if seen else []
            held.prune([np.array([-1, *seen]), np.array([-1])])
    held.prune([np.array(seen, np.int64)])
    tokens, length, index, parts = batch(seen)
    np.testing.assert_array_equal(held.index, index)
    np.testing.assert_array_equal(held.tokens, tokens)
    np.testing.assert_array_equal(held.length, length)
    assert held.parts == parts


def test_pruning_is_due_when_new_rows_outgrow_the_others(monkeypatch):
    monkeypatch.setattr(module, "SLACK", 5)
    held = RowBuffer(3, d_vocab=70_000)
    assert held.tokens.dtype == np.uint32
    held.add(*batch([1]))
    assert not held.due
    held.add(*batch([2]))
    assert held.due
    held.prune([np.array([1, 2])])
    held.add(*batch([3, 4]))
    assert not held.due, "as many new tokens as old ones"
    held.add(*batch([5]))
    assert held.due
