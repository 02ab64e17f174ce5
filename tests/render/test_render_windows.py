"""A window as HTML: the text is whole and escaped, one element a token, values and ids beside it."""

from __future__ import annotations

import html
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.render.spans import SHADES, groups, token_spans
from neurolocal.render.visible import HIDDEN
from neurolocal.render.windows import Window, Windows, token_text
from neurolocal.words import Vocabulary

TOKENS = [b"<|end|>", b" Monday", b"</i>", b"\xe2\x82", b"\xac", b"\xff", b" ", b"\n", "أهلا".encode(), b"x" * 100_000]
VOCABULARY = Vocabulary(TOKENS, np.arange(len(TOKENS)) == 0)
ELEMENT = re.compile(r'<(i|mark)(?: class=(?:"x (s\d+)"|(s\d+)))?>(.*?)</\1>', re.DOTALL)


def made(ids: list[int], values: list[float], *, peak: int, scale: float, joined: bool = False) -> str:
    windows = Windows(VOCABULARY, joined=joined)
    return windows.html([Window(np.array(ids), np.array(values, np.float32), peak, scale)])[0]


def test_one_element_a_token_with_its_shade_value_and_id() -> None:
    text = made([0, 1, 2, 5], [0.5, 4.0, -1.0, 1.21], peak=1, scale=4.0)
    assert text == (
        '<p class=w dir=auto data-a="0.5 4 -1 1.21" data-t="0 1 2 5"><i class="x s1">&lt;|end|&gt;</i> '
        "<mark class=s10>Monday</mark><i>&lt;/i&gt;</i><i class=s3>�</i></p>"
    )


def test_tokens_of_one_character_are_one_element() -> None:
    text = made([1, 3, 4], [0.0, 1.0, 2.0], peak=2, scale=2.0)
    assert 'data-a="0 2" data-t="1 3+4"' in text
    assert "<mark class=s10>€</mark>" in text


def test_white_space_is_seen() -> None:
    assert [token_text(t) for t in (" ", " a", "a  b", "\n\n", "\t", "\u00a0", "　")] == [
        "·", " a", "a··b", "⏎⏎", "⇥", "⟨U+00A0⟩", "⟨U+3000⟩",
    ]  # fmt: skip


def test_joined_leaves_out_what_has_no_shade() -> None:
    text = made([1, 2, 1], [0.0, 0.01, 4.0], peak=2, scale=4.0, joined=True)
    assert text == '<p class=w dir=auto> Monday&lt;/i&gt; <mark class=s10 title="4">Monday</mark></p>'


@pytest.mark.parametrize(("scale", "shade"), [(4.0, 10), (-4.0, 0), (0.0, 0), (float("nan"), 0)])
def test_a_shade_is_a_share_of_the_scale(scale: float, shade: int) -> None:
    assert f"class=s{shade}>Monday" in made([1], [4.0], peak=0, scale=scale)


def twin(window: Window, *, joined: bool) -> str:
    """The same, one token after another."""
    tokens, activations, peak, scale = window
    body, values, names = [], [], []
    pieces = token_spans(tokens, activations, VOCABULARY, full=scale, peak=peak)
    for span, group in zip(pieces, groups(tokens.tolist(), VOCABULARY), strict=True):
        text, value = html.escape(token_text(span.text)), f"{span.activation + 0.0:.3g}"
        title = f' title="{value}"' if joined else ""
        if span.peak:
            word = text.lstrip(" ") or text
            text = f"{text.removesuffix(word)}<mark class=s{span.shade}{title}>{word}</mark>"
        elif span.special:
            text = f'<i class="x s{span.shade}"{title}>{text}</i>'
        elif span.shade:
            text = f"<i class=s{span.shade}{title}>{text}</i>"
        elif not joined:
            text = f"<i>{text}</i>"
        body.append(text)
        values.append(value)
        names.append("+".join(str(token) for token in tokens[group].tolist()))
    listed = "" if joined else f' data-a="{" ".join(values)}" data-t="{" ".join(names)}"'
    return f"<p class=w dir=auto{listed}>{''.join(body)}</p>"


ONE = st.tuples(st.integers(0, len(TOKENS) - 1), st.floats(width=32))


@given(
    drawn=st.lists(st.tuples(st.lists(ONE, min_size=1, max_size=12), st.floats(width=32), st.data()), max_size=4),
    joined=st.booleans(),
)
def test_windows_made_together_are_those_of_a_plain_loop(
    drawn: list[tuple[list[tuple[int, float]], float, st.DataObject]], joined: bool
) -> None:
    windows = []
    for pairs, scale, data in drawn:
        ids, values = zip(*pairs, strict=True)
        peak = data.draw(st.none() | st.integers(0, len(ids) - 1))
        scale = data.draw(st.sampled_from([scale, *values]))
        windows.append(Window(np.array(ids), np.array(values, np.float32), peak, scale))
    made = Windows(VOCABULARY, joined=joined)
    expected = [twin(window, joined=joined) for window in windows]
    assert made.html(windows) == expected
    assert made.html(windows[::-1]) == expected[::-1]


def test_what_is_kept_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurolocal.render.windows.KEPT", 0)
    windows = Windows(VOCABULARY)
    one = Window(np.array([3, 4, 1]), np.array([0, 1, 2], np.float32), 2, 2.0)
    assert windows.html([one]) == windows.html([one]) == [twin(one, joined=False)]


@given(ids=st.lists(st.integers(0, len(TOKENS) - 1), min_size=1, max_size=20), data=st.data())
def test_whatever_the_tokens_are(ids: list[int], data: st.DataObject) -> None:
    peak = data.draw(st.integers(0, len(ids) - 1))
    values = data.draw(st.lists(st.floats(width=32), min_size=len(ids), max_size=len(ids)))
    text = made(ids, values, peak=peak, scale=values[peak])
    elements = ELEMENT.findall(text)
    together = groups(ids, VOCABULARY)
    assert len(elements) == len(together)
    expected = [token_text(VOCABULARY.text([ids[i] for i in group])) for group in together]
    assert [html.unescape(body).strip(" ") for *_, body in elements] == [one.strip(" ") for one in expected]
    assert sum(kind == "mark" for kind, *_ in elements) == 1
    assert all(0 <= int((a or b or "s0")[1:]) <= SHADES for _, a, b, _ in elements)
    assert not any(unicodedata.category(c) in HIDDEN for c in text)
    assert len(text.encode()) < 4_000 * len(ids) + 200
