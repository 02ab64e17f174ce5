"""What the corpus says, made safe to look at, and an example as pieces."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.records import Example
from neurolocal.render.spans import SHADES, spans
from neurolocal.render.visible import HIDDEN, counted, plain, spaced, visible
from neurolocal.words import Vocabulary


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("poly gon é 日本", "poly gon é 日本"),
        ("a\nb\tc", "a⏎b⇥c"),
        ("\x00\x1b\x7f\x85", "⟨U+0000⟩⟨U+001B⟩⟨U+007F⟩⟨U+0085⟩"),
        ("\u202eevil\u2066\u200b\ufeff", "⟨U+202E⟩evil⟨U+2066⟩⟨U+200B⟩⟨U+FEFF⟩"),
        ("\u2028\u2029", "⟨U+2028⟩⟨U+2029⟩"),
        ("\ud800x\udc80", "⟨U+D800⟩x⟨U+DC80⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
    ],
)
def test_visible(text, says):
    assert visible(text) == says


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=60), st.none() | st.integers(1, 70))
def test_visible_hides_nothing_and_says_what_it_cut(text, limit):
    shown = visible(text, limit=limit)
    assert not any(unicodedata.category(c) in HIDDEN for c in shown)
    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert (f"…(+{len(text) - (limit or 0):,})" in shown) == (limit is not None and len(text) > limit)


def test_spaced_shows_the_spaces_at_the_edges():
    assert [spaced(t) for t in [" poly", "poly", "a b ", "  ", "\n", ""]] == ["·poly", "poly", "a b·", "··", "⏎", ""]
    assert spaced("x" * 30) == "x" * 24 + "…(+6)"
    assert len(spaced(" " * 5000)) == 24
    assert len(spaced(" " * 5000 + "x" + " " * 5000)) == 49
    assert counted([(" poly", 12), ("P", 1)]) == "·poly ×12, P"


def test_plain_replaces_lone_surrogates_only():
    assert plain("a\ud800\n\u202e😀") == "a\ufffd\n\u202e😀"


BYTES = [b"<s>", b" a", b"b", b"\xe2", b"\x82", b"\xac", b"\xf0\x9f", b"\x98\x80", b"\xff", b"\n", b"\xe2\x82\xacx"]


def example(tokens, activations, peak):
    values = np.array(activations, dtype=np.float32)
    return Example(0, 5, 40 + peak, float(values[peak]), 40, np.array(tokens), values)


def vocabulary():
    return Vocabulary(BYTES, np.array([True] + [False] * (len(BYTES) - 1)))


def test_tokens_of_one_character_are_one_piece():
    made = spans(example([1, 3, 4, 5, 2], [0, 0.5, 2, -1, 1], 2), vocabulary())
    assert [(s.text, s.shade, s.peak) for s in made] == [(" a", 0, False), ("€", 10, True), ("b", 5, False)]


def test_shade_is_the_share_of_the_peak_on_either_side():
    made = spans(example([1, 2, 1, 2], [-4, 2, -1, np.nan], 0), vocabulary())
    assert [s.shade for s in made] == [10, 0, 2, 0]
    assert [s.shade for s in spans(example([1, 2], [0, 3], 0), vocabulary())] == [0, 0]


def test_a_piece_is_as_strong_as_its_strongest_in_the_direction_of_the_peak():
    assert [s.activation for s in spans(example([3, 4, 5], [-2, 1, -1], 0), vocabulary())] == [-2]
    assert [s.activation for s in spans(example([3, 4, 5], [2, np.nan, -3], 0), vocabulary())] == [2]


def test_a_broken_character_does_not_swallow_a_control_token():
    made = spans(example([3, 0, 2], [0, 0, 1], 2), vocabulary())
    assert [(s.text, s.special) for s in made] == [("\ufffd", False), ("<s>", True), ("b", False)]


@settings(deadline=None)
@given(st.data())
def test_pieces_are_the_window_and_one_holds_the_peak(data):
    tokens = data.draw(st.lists(st.integers(0, len(BYTES) - 1), min_size=1, max_size=40))
    values = data.draw(st.lists(st.floats(-9, 9, width=32), min_size=len(tokens), max_size=len(tokens)))
    peak = data.draw(st.integers(0, len(tokens) - 1))
    made = spans(example(tokens, values, peak), vocabulary())
    whole = "".join(s.text for s in made)
    assert whole.replace("\ufffd", "") == vocabulary().text(tokens).replace("\ufffd", "")
    assert sum(s.peak for s in made) == 1
    assert all(0 <= s.shade <= SHADES for s in made)
