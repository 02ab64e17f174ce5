"""Pieces joined by numpy are those joined one by one; a value has the text that Python gives it."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from neurolocal.render.pieces import Numbers, Pieces, Places, number_codes


def joined(pieces: Pieces, places: Places) -> list[str]:
    text, ends = pieces.joined(places)
    stops = ends.tolist()
    return [text[start:stop].decode() for start, stop in zip([0, *stops], stops, strict=False)]


@given(texts=st.lists(st.text(max_size=9), min_size=1), data=st.data())
def test_pieces_are_joined_in_any_order(texts: list[str], data: st.DataObject) -> None:
    pieces = Pieces()
    places = np.array([pieces.add(text.encode("utf-8", "replace")) for text in texts]).reshape(-1, 2)
    order = data.draw(st.lists(st.integers(0, len(texts) - 1)))
    expected = [texts[i].encode("utf-8", "replace").decode() for i in order]
    assert joined(pieces, Places(places[order, 0], places[order, 1])) == expected


def test_a_buffer_grows() -> None:
    pieces = Pieces()
    places = np.array([pieces.add(bytes([65 + i % 26]) * 50_000) for i in range(9)])
    assert [text[0] + str(len(text)) for text in joined(pieces, Places(*places.T))] == [
        f"{c}50000" for c in "ABCDEFGHI"
    ]


@given(values=st.lists(st.floats(width=32)))
@example([0.0, -0.0, np.nan, np.inf, -np.inf, 1.4e-45, -3.4e38, 999.5, 0.9995, 1.125, -1.125, 99.95, 1e-5, 9.995e-5])
def test_values_have_the_text_that_python_gives_them(values: list[float]) -> None:
    array = np.array(values, np.float32)
    pieces = Pieces()
    numbers = Numbers(pieces)
    expected = [f"{value + 0.0:.3g} " for value in array.tolist()]
    assert joined(pieces, numbers.places(array)) == expected
    assert joined(pieces, numbers.places(array[::-1])) == expected[::-1]


def test_equal_codes_are_equal_texts() -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(20_000) * 10.0 ** rng.integers(-9, 9, 20_000)).astype(np.float32)
    texts = [f"{value:.3g}" for value in values.tolist()]
    codes = number_codes(values).tolist()
    assert len(set(zip(codes, texts, strict=True))) == len(set(codes)) == len(set(texts))
