"""The kernel of positions against its slow twin."""

from __future__ import annotations

import numpy as np
import pytest
from firing_twins import VOCABULARY, WORDS, Vectors, slow_alike, slow_kernel

from neurolocal.score.kernel import TokenKernel, joined


@pytest.fixture(scope="module")
def kernel() -> TokenKernel:
    return TokenKernel(VOCABULARY, Vectors())


@pytest.mark.parametrize("seed", range(6))
def test_positions_are_as_alike_as_their_slow_twins(kernel: TokenKernel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, len(WORDS), int(rng.integers(1, 15))).tolist() for _ in range(2))
    found = kernel.between(kernel.positions(np.array(a)), kernel.positions(np.array(b)))
    expected = [[slow_kernel(a, i, b, j) for j in range(len(b))] for i in range(len(a))]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_pair_of_tokens(kernel: TokenKernel) -> None:
    ids = np.arange(-1, len(WORDS))
    expected = [[slow_alike(int(x), int(y)) for y in ids] for x in ids]
    np.testing.assert_allclose(kernel.alike(ids, ids), expected, atol=1e-6)


def test_chosen_positions_and_joined_ones_are_those_of_the_row(kernel: TokenKernel) -> None:
    row = np.array([1, 4, 9, 2, 6, 3, 5, 8])
    whole, some = kernel.positions(row), joined([kernel.positions(row, [5, 0]), kernel.positions(row, [7])])
    for name in ("token", "previous", "second", "after", "context"):
        np.testing.assert_array_equal(getattr(some, name), getattr(whole, name)[[5, 0, 7]])
    assert whole.put(3).token.tolist() == [3] * 8
    assert kernel.ids[" blue"] == WORDS.index(" blue")
