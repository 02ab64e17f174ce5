"""What stands in a word's place: spelling, case, spaces, neighbours, controls."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.config import PerturbationConfig
from neurolocal.perturbation.spelling import is_variant, like
from neurolocal.perturbation.substitutes import BAND, Substitutes
from neurolocal.words import WORD, Vocabulary


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


class Spelled:
    """An encoder of one token a byte, so that every text can be said; a few words cannot."""

    def __init__(self, text: str, *, n_ctx: int | None = None, forbidden: tuple[str, ...] = ()) -> None:
        self.vocabulary = Vocabulary([bytes([i]) for i in range(256)], np.zeros(256, bool))
        self.row = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
        self.n_ctx, self.forbidden = n_ctx, forbidden

    def encode_exactly(self, text: str) -> list[int] | None:
        return None if any(f in text for f in self.forbidden) else list(text.encode())

    def find(self, finder: Substitutes, text: str, **where):
        at = self.vocabulary.text(self.row).index(text)
        return finder.at(self.row, self.vocabulary.word_at(self.row, at), **({"row_index": 4} | where))


def test_neighbours_are_the_nearest_other_words_and_controls_far_ones(small, toy) -> None:
    config = PerturbationConfig(neighbours=3, controls=4)
    encoder = Spelled("a sad Cat, here")
    finder = Substitutes(encoder, toy, word_counts=small.counts, config=config)
    found = encoder.find(finder, "Cat")
    assert [s.kind for s in found] == ["original", *["neighbour"] * 3, *["control"] * 4]
    nearest = [w for w, _ in toy.nearest("cat", 50) if not is_variant("cat", w) and w[0] != "c"]
    assert [s.text.lower() for s in found[1:4]] == nearest[:3]
    own = toy.find("cat")
    middle = np.median([toy.find(w) @ own for w in finder._words[finder._band("cat")]])
    for s in found[1:]:
        assert s.text[0].isupper() or not s.text[0].isalpha()
        assert bytes(s.tokens).decode() == s.text
        assert s.cosine == pytest.approx(float(toy.find(s.text) @ toy.find("cat")), abs=1e-5)
    assert all(s.cosine <= middle + 1e-6 for s in found[4:])
    assert max(c for _, c in finder._random("cat", own, np.random.default_rng(0))) <= middle + 1e-6
    assert not {s.text.lower() for s in found[4:]} & {w for w, _ in toy.nearest("cat", 3 * 6)}


def test_what_cannot_be_said_or_does_not_fit_gives_way_to_the_next(small, toy) -> None:
    config = PerturbationConfig(neighbours=2, controls=2)
    first = [w for w, _ in toy.nearest("cat", 50) if not is_variant("cat", w) and w[0] != "c"]
    encoder = Spelled("cat", forbidden=(first[0],))
    found = encoder.find(Substitutes(encoder, toy, word_counts=small.counts, config=config), "cat")
    assert [s.text for s in found if s.kind == "neighbour"] == [w for w in first if first[0] not in w][:2]
    tight = Spelled("cat", n_ctx=3)
    found = tight.find(Substitutes(tight, toy, word_counts=small.counts, config=config), "cat")
    assert found
    assert all(len(s.tokens) <= 3 for s in found)


def test_no_substitute_begins_with_the_originals_token(small, toy) -> None:
    config = PerturbationConfig(neighbours=20, controls=20)
    encoder = Spelled("the sun")
    found = encoder.find(Substitutes(encoder, toy, word_counts=small.counts, config=config), "sun")
    assert len(found) > 10
    assert not [s.text for s in found[1:] if s.text.startswith("s")], "small, sad, saw … share the token"


def test_space_and_punctuation_inside_the_words_tokens_stay(small, toy) -> None:
    vocabulary = Vocabulary([b"a", b' "cat', b"s", b"!"], np.zeros(4, bool))
    encoder = Spelled("")
    encoder.vocabulary, row = vocabulary, np.array([0, 1, 3])
    finder = Substitutes(encoder, toy, word_counts=small.counts, config=PerturbationConfig())
    found = finder.at(row, vocabulary.word_at(row, 1), row_index=0)
    assert found[0].text == ' "cat'
    assert found[0].tokens == (1,)
    assert all(s.text.startswith(' "') and WORD.fullmatch(s.text[2:]) for s in found[1:])


def test_controls_depend_on_seed_row_and_place_alone(small, toy) -> None:
    encoder = Spelled("the cat saw the cat")
    make = lambda seed: Substitutes(encoder, toy, word_counts=small.counts, config=PerturbationConfig(seed=seed))  # noqa: E731
    one = encoder.find(make(1), "cat")
    other = make(1)
    encoder.find(other, "saw")
    assert encoder.find(other, "cat") == one
    assert encoder.find(make(1), "cat", row_index=5) != one
    assert encoder.find(make(2), "cat") != one


def test_controls_are_about_as_frequent(rng: np.random.Generator) -> None:
    from perturbation_twins import ToyVectors

    words = {"".join(rng.choice(list("abcdefghij"), 7)): rng.normal(size=8) for _ in range(2000)}
    counts = Counter({w: int(10_000 / (i + 1)) for i, w in enumerate(words)})
    vectors = ToyVectors(words)
    finder = Substitutes(Spelled(""), vectors, word_counts=counts, config=PerturbationConfig())
    for place in (300, 700, 1500):
        word = list(words)[place]
        band = finder._words[finder._band(word)]
        assert BAND[0] <= len(band) <= BAND[1]
        assert all(0.4 <= counts[b] / counts[word] <= 2.5 for b in band)
    rare = finder._words[finder._band(list(words)[-1])]
    assert rare != sorted(rare), "equal counts stand in alphabetical order"


def test_no_letters_or_no_vector_gives_nothing(small, toy) -> None:
    encoder = Spelled("12 xyzzy , cat")
    finder = Substitutes(encoder, toy, word_counts=small.counts, config=PerturbationConfig())
    assert encoder.find(finder, "12") == encoder.find(finder, "xyzzy") == encoder.find(finder, ",") == []


def test_a_corpus_without_known_words_has_no_controls(toy) -> None:
    encoder = Spelled("cat")
    finder = Substitutes(encoder, toy, word_counts=Counter({"qqq": 3}), config=PerturbationConfig(neighbours=2))
    assert [s.kind for s in encoder.find(finder, "cat")] == ["original", "neighbour", "neighbour"]
