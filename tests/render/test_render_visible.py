"""Untrusted text made safe to display."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.render.visible import HIDDEN, counted, plain, spaced, visible


@pytest.mark.parametrize(
    ("text", "expected"),
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
def test_visible(text, expected):
    assert visible(text) == expected


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=60), st.none() | st.integers(1, 70))
def test_no_hidden_character_remains_and_the_cut_is_counted(text, limit):
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


def test_printable_text_has_nothing_to_hide():
    """The shortcut of `visible` for texts that Python calls printable."""
    import sys

    from neurolocal.render.visible import HIDDEN

    printable = (chr(i) for i in range(sys.maxunicode + 1) if chr(i).isprintable())
    assert not any(unicodedata.category(c) in HIDDEN for c in printable)
