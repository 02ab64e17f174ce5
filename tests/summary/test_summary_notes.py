"""Near misses: silent, and from what explains."""

from __future__ import annotations

import numpy as np

from neurolocal.records import Example
from neurolocal.summary.notes import near_misses, weaker_text
from neurolocal.words import Vocabulary

WORDS = ["<s>", *(f" w{chr(97 + i)}" for i in range(20))]
VOCABULARY = Vocabulary([w.encode() for w in WORDS], np.array([True] + [False] * 20))


def test_near_misses_are_silent_and_of_what_explains() -> None:
    row = np.array([1, 5, 2, 3, 5, 4])
    values = np.array([0, 10, 0, 0, 0.5, 0], np.float32)
    own = [Example(0, 100, 1, 10.0, 0, row, values), Example(1, 101, 1, 9.0, 0, np.array([7, 5, 8]), values[:3])]
    random = [(np.array([9, 5, 10]), 1, 200), (np.array([11, 5, 12]), 1, 101), (np.array([13, 5, 14]), 1, 201)]
    found = near_misses(
        own, VOCABULARY, random=random, token=np.array([5, 5, 5]), values=np.array([0.1, 0.1, 8.0], np.float32)
    )
    assert found == ["wa we wb wc <<we>> wd", "wi <<we>> wj"], "row 101 scores, and at 201 it fires"
    assert near_misses([], VOCABULARY, random=[], token=np.zeros(0, int), values=np.zeros(0, np.float32)) == []


def test_a_weaker_context_has_its_word_marked() -> None:
    row = np.arange(1, 16)
    assert weaker_text(row, 0, VOCABULARY).startswith("<<wa>> wb wc")
    text = weaker_text(row, 9, VOCABULARY)
    assert "wi <<wj>> wk" in text
    assert text.count("<<") == 1
