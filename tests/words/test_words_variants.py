"""Spelling variants: which words are spellings of one word, and the capitals of a word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.words.variants import is_variant, like, other_forms


@pytest.mark.parametrize(
    ("word", "other"),
    [
        *[("Battle", "battle"), ("battle", "battles"), ("battle", "embattled"), ("running", "runner")],
        *[("city", "cities"), ("colour", "colors"), ("café", "cafe"), ("make", "making"), ("king", "king's")],
        *[("happy", "happiness"), ("canada", "canadian"), ("nice", "nicer")],
    ],
)
def test_variants(word: str, other: str) -> None:
    assert is_variant(word, other)
    assert is_variant(other, word)


@pytest.mark.parametrize(
    ("word", "other"),
    [
        *[("monday", "tuesday"), ("king", "queen"), ("run", "walk"), ("a", "cat"), ("in", "inside"), ("cat", "dog")],
        *[("june", "july"), ("france", "germany"), ("red", "blue"), ("his", "her"), ("mother", "father")],
    ],
)
def test_other_words(word: str, other: str) -> None:
    assert not is_variant(word, other)


@given(st.text(max_size=12), st.text(max_size=12))
def test_variants_are_symmetric_and_reflexive(a: str, b: str) -> None:
    assert is_variant(a, b) == is_variant(b, a)
    assert is_variant(a, a)


@pytest.mark.parametrize(
    ("word", "model", "expected"),
    [("dog", "cat", "dog"), ("dog", "Cat", "Dog"), ("dog", "CAT", "DOG"), ("NATO", "cat", "nato"), ("we", "I", "We")],
)
def test_a_word_takes_the_models_capitals(word: str, model: str, expected: str) -> None:
    assert like(word, model) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("dog", ["Dog", "DOG"]),
        ("Dog", ["dog", "DOG"]),
        ("DOG", ["dog", "Dog"]),
        ("iPhone", ["iphone", "Iphone", "IPHONE"]),
        ("I", ["i"]),
        ("12", []),
    ],
)
def test_other_forms_are_the_other_capitals_of_a_word(word: str, expected: list[str]) -> None:
    assert other_forms(word) == expected
