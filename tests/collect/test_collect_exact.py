"""Sums of fixed-point parts are equal in any order and exact to 2^-60."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.collect.exact import MASK, SCALE, add_parts

PARTS = st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(0, MASK)), min_size=1, max_size=9)


def total(parts: list[tuple[int, int]]) -> tuple[int, int]:
    whole, fraction = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for more in parts:
        add_parts(whole, fraction, np.array([more[0]]), np.array([more[1]]))
    return int(whole[0]), int(fraction[0])


@given(PARTS, st.randoms(use_true_random=False))
def test_a_sum_is_exact_and_the_same_in_any_order(parts, random):
    whole, fraction = total(parts)
    assert 0 <= fraction <= MASK
    assert whole + Fraction(fraction, 2**SCALE) == sum(w + Fraction(f, 2**SCALE) for w, f in parts)
    random.shuffle(parts)
    assert total(parts) == (whole, fraction)
