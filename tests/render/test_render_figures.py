"""Figures as text and values as strict JSON."""

import json
from math import inf, nan

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neurolocal.render.figures import Figure, fixed, histogram_range, number, percent, significance, strict

TEXT = st.text(st.characters(exclude_categories=()), max_size=9)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (nan, "–"),
        (inf, "∞"),
        (-inf, "-∞"),
        (0.0, "0.00"),
        (0.1, "0.10"),
        (-12.345, "-12.35"),
        (0.09123, "0.091"),
        (1e-9, "1e-09"),
    ],
)
def test_number(value, expected):
    assert number(value) == expected


def test_fixed_and_percent():
    assert [fixed(value) for value in (0.091, nan, inf)] == ["0.09", "–", "–"]
    assert [percent(share) for share in (0.714, 1.5, nan, -inf)] == ["71 %", "150 %", "–", "–"]


def test_significance_omits_what_was_not_measured():
    assert significance(z=7.24, p=0.00123, q=nan) == "z = 7.2, p = 0.0012"
    assert significance(z=nan) == ""


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(0, 200), st.integers(1, 50))
@example(0.0, 8, 5)
@example(0.0, 26, 10)
@example(3e38, 120, 50)
def test_bins_fit_into_the_range_of_a_histogram(low, steps, bins):
    """Also between numbers so close together that numpy cannot divide what is between them."""
    high = low
    for _ in range(steps):
        high = float(np.nextafter(high, inf))
    range_ = histogram_range(low, high, bins=bins)
    assert range_[0] == low
    assert range_[1] >= high
    counts, edges = np.histogram([low, high], bins, range_)
    assert counts.sum() == 2
    assert (np.diff(edges) > 0).all()


def test_a_range_in_which_bins_fit_is_kept():
    assert histogram_range(-1.0, 2.5, bins=40) == (-1.0, 2.5)
    assert histogram_range(0.0, 0.0, bins=40) == (0.0, 1.0)


def test_a_figure_without_a_null_or_a_number():
    figure = Figure("reach", "71 %")
    assert (figure.null_text, figure.test) == ("", "")
    assert figure.number != figure.number
    assert figure.null_number != figure.null_number


def test_strict():
    value = {"a": [1.5, nan, (inf, "\ud800x")], "\udc80": {"b": None, "c": True}, 3: "é"}
    assert strict(value) == {"a": [1.5, None, [None, "\ufffdx"]], "\ufffd": {"b": None, "c": True}, "3": "é"}


@settings(max_examples=50)
@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=8))
def test_strict_is_valid_for_strict_json_and_utf8(value):
    text = json.dumps(strict(value), allow_nan=False, ensure_ascii=False)
    assert json.loads(text.encode()) == strict(value)
