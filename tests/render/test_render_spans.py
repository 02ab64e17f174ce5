"""An example's window as spans."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.records import Example
from neurolocal.render.spans import SHADES, spans
from neurolocal.words import Vocabulary

BYTES = [b"<s>", b" a", b"b", b"\xe2", b"\x82", b"\xac", b"\xf0\x9f", b"\x98\x80", b"\xff", b"\n", b"\xe2\x82\xacx"]


def example(tokens, activations, peak):
    values = np.array(activations, dtype=np.float32)
    return Example(0, 5, 40 + peak, float(values[peak]), 40, np.array(tokens), values)


def vocabulary():
    return Vocabulary(BYTES, np.array([True] + [False] * (len(BYTES) - 1)))


def test_tokens_of_one_character_are_one_span():
    made = spans(example([1, 3, 4, 5, 2], [0, 0.5, 2, -1, 1], 2), vocabulary())
    assert [(s.text, s.shade, s.peak) for s in made] == [(" a", 0, False), ("€", 10, True), ("b", 5, False)]


def test_the_shade_is_the_share_of_the_peak_for_both_signs():
    made = spans(example([1, 2, 1, 2], [-4, 2, -1, np.nan], 0), vocabulary())
    assert [s.shade for s in made] == [10, 0, 2, 0]
    assert [s.shade for s in spans(example([1, 2], [0, 3], 0), vocabulary())] == [0, 0]


def test_a_span_has_its_strongest_activation_in_the_direction_of_the_peak():
    assert [s.activation for s in spans(example([3, 4, 5], [-2, 1, -1], 0), vocabulary())] == [-2]
    assert [s.activation for s in spans(example([3, 4, 5], [2, np.nan, -3], 0), vocabulary())] == [2]


def test_an_incomplete_character_ends_before_a_special_token():
    made = spans(example([3, 0, 2], [0, 0, 1], 2), vocabulary())
    assert [(s.text, s.special) for s in made] == [("\ufffd", False), ("<s>", True), ("b", False)]


@given(st.data())
def test_the_spans_are_the_window_and_one_holds_the_peak(data):
    tokens = data.draw(st.lists(st.integers(0, len(BYTES) - 1), min_size=1, max_size=40))
    values = data.draw(st.lists(st.floats(-9, 9, width=32), min_size=len(tokens), max_size=len(tokens)))
    peak = data.draw(st.integers(0, len(tokens) - 1))
    made = spans(example(tokens, values, peak), vocabulary())
    whole = "".join(s.text for s in made)
    assert whole.replace("\ufffd", "") == vocabulary().text(tokens).replace("\ufffd", "")
    assert sum(s.peak for s in made) == 1
    assert all(0 <= s.shade <= SHADES for s in made)
