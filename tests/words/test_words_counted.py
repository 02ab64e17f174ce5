"""The rule of counted positions against a plain loop over random rows."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from neurolocal.words.counted import counted_positions


@pytest.mark.parametrize(
    ("bos", "count_bos", "skip_special"), list(product(["prepend", "none"], [False, True], [False, True]))
)
def test_counted_positions_equal_a_plain_loop(bos, count_bos, skip_special, rng: np.random.Generator) -> None:
    special = rng.random(20) < 0.3
    tokens = rng.integers(0, 20, (50, 12))
    length = rng.integers(0, 13, 50)
    config = {"bos": bos, "count_bos": count_bos, "skip_special": skip_special}
    counted = counted_positions(tokens, length, special=special, config=config)
    assert counted.shape == tokens.shape
    for row in range(50):
        for pos in range(12):
            if pos == 0 and bos == "prepend":
                # Even in an empty row and even if BOS is a special token that is otherwise skipped.
                expected = count_bos
            else:
                expected = pos < length[row] and not (skip_special and special[tokens[row, pos]])
            assert counted[row, pos] == expected, (row, pos)


def test_settings_that_a_manifest_lacks_are_off() -> None:
    tokens, length, special = np.zeros((2, 3), np.int64), np.array([3, 1]), np.array([True])
    counted = counted_positions(tokens, length, special=special, config={})
    assert counted.tolist() == [[True, True, True], [True, False, False]]


def test_no_rows_and_no_positions() -> None:
    special = np.array([False])
    for shape in ((0, 5), (3, 0)):
        tokens, length = np.zeros(shape, np.int64), np.zeros(shape[0], np.int64)
        assert counted_positions(tokens, length, special=special, config={"bos": "prepend"}).shape == shape


def test_roles_need_the_parts() -> None:
    """Without them every position would count, and nobody would notice."""
    tokens, length, special = np.zeros((2, 3), np.int64), np.array([3, 1]), np.array([True])
    with pytest.raises(AssertionError, match="count_roles needs the parts"):
        counted_positions(tokens, length, special=special, config={"count_roles": ["user"]})
