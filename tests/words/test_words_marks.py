"""Combining marks against the Unicode database, and inside words."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest

from neurolocal.words import WORD
from neurolocal.words.marks import MARKS


def test_marks_are_those_of_unicode() -> None:
    """Later versions of Unicode know more marks, and no other change."""
    pattern = re.compile(f"[{MARKS}]")
    ours = {chr(c) for c in range(sys.maxunicode + 1) if pattern.match(chr(c))}
    theirs = {chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c))[0] == "M"}
    assert ours == theirs if unicodedata.unidata_version == "14.0.0" else ours <= theirs


@pytest.mark.parametrize("word", ["हिन्दी", "cafe\u0301s", "e\u0301t", "ไม่", "qu\u0301’a\u0301"])
def test_marks_are_inside_words(word) -> None:
    assert WORD.findall(f" {word}, {word}_\u0301") == [word, word]
    assert WORD.fullmatch(word)


def test_a_long_run_of_marks_does_not_stop_the_search() -> None:
    """A pattern that could cut the run in several ways would take for ever to say no."""
    assert WORD.fullmatch("a" + "\u0301" * 5000 + "1") is None
