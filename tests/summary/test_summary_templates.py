from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.records import Neuron
from neurolocal.summary.peaks import PeakWords, find_peaks
from neurolocal.summary.templates import SHARE, certain, spelling, top_words
from neurolocal.words.peaks import count_spellings


def peaks(text: str, held: list[str] | None = None) -> PeakWords:
    words = text.split()
    return PeakWords(len(words), count_spellings(words), Counter(f" {w}" for w in words), held or [])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("each each Each each each", 'the word "each"'),
        ("the the the the the the the the the of", 'the word "the"'),
        ("the the the of of", 'the words "the" and "of"'),
        ("of in to for", 'prepositions ("of", "in", "to")'),
        ("three seven twelve", 'number words ("three", "seven", "twelve")'),
        ("not never no nothing", 'negation ("not", "never", "no")'),
        ("the of and to in a that", 'function words ("the", "of", "and")'),
        ("he wise she broken they iron", 'mostly pronouns ("he", "she", "they")'),
        ("he wise she broken they iron gold", None),
        ("iron two zinc seven gold nine", None),
        (", , , ,", 'commas ","'),
        ("7 7 7", 'the number "7"'),
        ("§ § §", 'the symbol "§"'),
        (", . ; ,", 'punctuation marks (",", ".", ";")'),
        ("1 22 365", 'numbers ("1", "22", "365")'),
        ("1999 2004 1812", 'years ("1999", "2004", "1812")'),
        ("7 + 8 =", 'numbers and symbols ("7", "+", "8")'),
        ("→ ≤ ∑", 'symbols ("→", "≤", "∑")'),
        ("iron zinc gold", None),
        ("ship ships whale", None),
    ],
)
def test_certain(words: str, expected: str | None) -> None:
    assert certain(peaks(words)) == expected


def test_a_word_whose_neighbours_hold_is_more_than_a_word() -> None:
    assert certain(peaks("each each each", held=["every"])) is None


def test_one_token_in_many_words(corpus: Any) -> None:
    examples = [corpus.example(2 * i, f" {b}", "attle", " ended") for i, b in enumerate("bctr")]
    assert certain(find_peaks(Neuron(0, examples), corpus.vocabulary)) == 'the letters "attle" within words'


def test_white_space_is_named(corpus: Any) -> None:
    examples = [corpus.example(2 * i, "a.", "\n", "B") for i in range(3)]
    assert certain(find_peaks(Neuron(0, examples), corpus.vocabulary)) == 'line breaks "\\n"'


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("nation action option motion", 'words ending in "-tion"'),
        ("Slowly quickly gently sadly", 'words ending in "-ly"'),
        ("unhappy unlikely unable unfair", 'words beginning with "un-"'),
        ("NASA FBI UNESCO IBM", "words in capital letters"),
        ("nation station relation", None),
        ("iron zinc gold lead", None),
        ("cats dogs cows hens", None),
        ("a a a a", None),
    ],
)
def test_spelling(words: str, expected: str | None) -> None:
    assert spelling(words.split()) == expected


@given(st.lists(st.text("abt", min_size=1, max_size=5), min_size=4, max_size=9, unique=True))
def test_spelling_is_true_of_enough_words_and_finds_what_there_is(words: list[str]) -> None:
    said = spelling(words)
    if said is not None and "ending" in said:
        end = said.split('"-')[1].rstrip('"')
        assert sum(w.endswith(end) and w != end for w in words) >= SHARE * len(words)
    if said is not None and "beginning" in said:
        begin = said.split('"')[1].rstrip("-")
        assert sum(w.startswith(begin) and w != begin for w in words) >= SHARE * len(words)
    if said is None:  # the slow way: every beginning of every word
        for begin in {w[:n] for w in words for n in range(2, len(w))}:
            kept = [w for w in words if w.startswith(begin) and w != begin]
            assert len(kept) < math.ceil(SHARE * len(words)), begin


def test_the_top_words_are_marked_as_such() -> None:
    assert top_words(Counter(poly=12, P=5)) == 'top words "poly", "P"'
    assert top_words(Counter(poly=12)) == 'top word "poly"'
    assert top_words(Counter(dict.fromkeys("abcdefg", 1))) == 'top words "a", "b", "c"'
    assert top_words(Counter({"a\nb": 1})) == 'top word "a\\nb"'
    assert top_words(Counter()) == "no examples"
