"""Overlap of ranked lists, against their definitions written out."""

from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.neuroscope.compare.overlap import jaccard, rank_biased_overlap

RANKED = st.lists(st.integers(0, 25), max_size=22, unique=True)
PERSISTENCE = st.floats(0.05, 0.98)


def slow_rbo(a, b, p):
    """Equation 32 of Webber, Moffat and Zobel 2010, term by term."""
    short, long = sorted((a, b), key=len)
    s, n = len(short), len(long)

    def x(d):
        return len(set(short[:d]) & set(long[:d]))

    first = sum(x(d) / d * p**d for d in range(1, n + 1))
    second = sum(x(s) * (d - s) / (s * d) * p**d for d in range(s + 1, n + 1))
    return (1 - p) / p * (first + second) + ((x(n) - x(s)) / n + x(s) / s) * p**n


@given(RANKED, RANKED, PERSISTENCE)
def test_rbo_is_its_equation_symmetric_and_bounded(a, b, p):
    found = rank_biased_overlap(a, b, p=p)
    if not a or not b:
        assert isnan(found)
        return
    assert found == pytest.approx(slow_rbo(a, b, p), abs=1e-12)
    assert found == pytest.approx(rank_biased_overlap(b, a, p=p), abs=1e-12)
    assert 0 <= found <= 1
    assert (found == 0) == (not set(a) & set(b))


@given(RANKED.filter(bool), PERSISTENCE)
def test_identity(a, p):
    assert rank_biased_overlap(a, a, p=p) == pytest.approx(1, abs=1e-12)
    assert jaccard(a, a) == 1


@given(RANKED, RANKED)
def test_jaccard_against_counting(a, b):
    found = jaccard(a, b)
    if not a or not b:
        assert isnan(found)
    else:
        both = [i for i in range(26) if i in a and i in b]
        either = [i for i in range(26) if i in a or i in b]
        assert found == len(both) / len(either)


def test_the_head_counts_most():
    ranked = list(range(10))
    assert rank_biased_overlap([1, 0, *ranked[2:]], ranked) < rank_biased_overlap([*ranked[:8], 9, 8], ranked) < 1
    assert jaccard([1, 0, *ranked[2:]], ranked) == 1


def test_a_worked_example():
    # Depths 1, 2, 3 share 0, 1, 3 of a, b, c against b, c, a.
    p = 0.9
    assert rank_biased_overlap("abc", "bca") == pytest.approx((1 - p) / p * (0 + p**2 / 2 + p**3) + p**3)
