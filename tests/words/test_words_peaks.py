"""Peak words: whole words, counted, distinct, without spelling variants."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.records import Example
from neurolocal.words import Vocabulary
from neurolocal.words.peaks import (
    count_spellings,
    distinct,
    distinct_spellings,
    distinct_words,
    peak_words,
    without_variants,
)


def test_peak_words_are_whole_words_in_the_order_of_the_examples() -> None:
    pieces = [b"The", b" b", b"attle", b" of", b" Hastings"]
    vocabulary = Vocabulary(pieces, np.zeros(5, dtype=bool))
    tokens, activations = np.arange(5), np.zeros(5, dtype=np.float32)
    examples = [Example(r, 0, p + 10, 1.0, 10, tokens, activations) for r, p in enumerate([1, 2, 4])]
    assert peak_words(examples, vocabulary) == ["battle", "battle", "Hastings"]
    assert Counter(peak_words(examples, vocabulary)) == {"battle": 2, "Hastings": 1}


def test_distinct_words_are_case_folded_and_counted_once() -> None:
    found = distinct_words(["battle", "Battle", "war", "war", "<bos>"])
    assert found.words == ("battle", "war", "<bos>")
    assert found.repetition == pytest.approx(2 / 5)
    assert distinct_words([]).words == ()
    assert math.isnan(distinct_words([]).repetition)


def test_distinct_keeps_case_and_spaces() -> None:
    assert distinct([" The", "The", " The"]) == ((" The", "The"), 2 / 3)


def test_a_spelling_variant_is_left_out_but_its_word_keeps_its_own_repetition() -> None:
    assert distinct_words(["sample", "samples", "samples", "day"]) == (("sample", "day"), 0.5)


def test_spellings_of_one_word_are_one_word() -> None:
    assert without_variants(["sample", "samples", "day", "Days", "night", "sampled"]) == ["sample", "day", "night"]
    assert without_variants([]) == []


def test_digits_and_symbols_count_once_each() -> None:
    assert without_variants(["3", "7", ",", "12", ".", "x3"]) == ["3", ",", "x3"]


def test_the_commonest_spelling_stands_for_a_word() -> None:
    assert distinct_spellings(["the", "The", "The", "cat", "CAT", "cats"]) == ["The", "cat"]


@given(st.lists(st.sampled_from(["each", "Each", "EACH", "zinc", "Zinc", "straße", "STRASSE"])))
def test_spellings_are_counted_in_the_order_of_their_words(words: list[str]) -> None:
    counts = count_spellings(words)
    assert [w.casefold() for w in counts] == list(dict.fromkeys(w.casefold() for w in words))
    for word, n in counts.items():
        own = [w for w in words if w.casefold() == word.casefold()]
        assert n == len(own)
        assert own.count(word) == max(own.count(w) for w in own)
