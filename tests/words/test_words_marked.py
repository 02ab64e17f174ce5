"""Text on one line, with one word marked."""

from __future__ import annotations

import numpy as np

from neurolocal.words import Vocabulary
from neurolocal.words.marked import marked, one_line

PIECES = [b"<s>", b"The", b" b", b"attle", b" of\n\n", b" Hastings", b"  ", b"."]
VOCABULARY = Vocabulary(PIECES, np.array([True] + [False] * 7))
ROW = np.arange(8)


def test_one_line_collapses_white_space_and_leaves_control_tokens_out() -> None:
    assert one_line(VOCABULARY, ROW) == "The battle of Hastings ."
    assert one_line(VOCABULARY, [0, 6]) == ""


def test_the_marks_are_around_the_word_without_its_space() -> None:
    assert marked(ROW, 2, 4, 0, 8, VOCABULARY) == "The <<battle>> of Hastings ."
    assert marked(ROW, 1, 2, 0, 4, VOCABULARY) == "<<The>> battle"
    assert marked(ROW, 5, 6, 4, 6, VOCABULARY) == "of <<Hastings>>"


def test_a_word_of_white_space_is_marked_as_one_space() -> None:
    assert marked(ROW, 6, 7, 5, 8, VOCABULARY) == "Hastings << >>."


def test_every_window_equals_the_plain_text_once_the_marks_are_removed(rng: np.random.Generator) -> None:
    for _ in range(200):
        row = rng.integers(0, 8, 12)
        low, start, end, high = np.sort(rng.choice(13, 4, replace=False)).tolist()
        text = marked(row, start, end, low, high, VOCABULARY)
        assert text.count("<<") == text.count(">>") == 1
        plain = "".join(text.replace("<<", "").replace(">>", "").split())
        assert plain == "".join(one_line(VOCABULARY, row[low:high]).split())
