"""Substitutes of a word: spelling, case, spaces, neighbours, controls."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from neurolocal.config import PerturbationConfig
from neurolocal.perturbation.substitutes import CommonTraits, SubstituteFinder
from neurolocal.words import WORD, Vocabulary, Word
from neurolocal.words.variants import is_variant


class Spelled:
    """An encoder with one token a byte, so that it can encode every text except some forbidden words."""

    def __init__(self, text: str, *, n_ctx: int | None = None, forbidden: tuple[str, ...] = ()) -> None:
        self.vocabulary = Vocabulary([bytes([i]) for i in range(256)], np.zeros(256, bool))
        self.row = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
        self.n_ctx, self.forbidden = n_ctx, forbidden

    def encode_exactly(self, text: str) -> list[int] | None:
        return None if any(f in text for f in self.forbidden) else list(text.encode())

    def find(self, finder: SubstituteFinder, text: str, **where):
        at = self.vocabulary.text(self.row).index(text)
        return finder.at_place(self.row, self.vocabulary.word_at(self.row, at), **({"row_index": 4} | where))


def kinds(found, *names: str):
    return [s for s in found if s.kind in names]


def finder_of(encoder, toy, counts, **settings) -> SubstituteFinder:
    return SubstituteFinder(encoder, toy, word_counts=counts, config=PerturbationConfig(**settings))


def test_neighbours_are_the_nearest_other_words_and_controls_far_ones(small, toy) -> None:
    encoder = Spelled("a sad Cat, here")
    finder = finder_of(encoder, toy, small.counts, neighbours=3, controls=4, grades=1, variants=0, forms=0)
    found = encoder.find(finder, "Cat")
    assert [s.kind for s in found[:4]] == ["original", *["neighbour"] * 3]
    assert [s.kind for s in found[-4:]] == ["control"] * 4
    nearest = [w for w, _ in toy.near("cat", 50) if not is_variant("cat", w) and w[0] != "c"]
    assert [s.text.lower() for s in found[1:4]] == nearest[:3]
    own = toy.find("cat")
    middle = np.median([toy.find(w) @ own for w in finder.bands.words[finder.bands.band("cat")]])
    for s in found[1:]:
        assert s.text[0].isupper() or not s.text[0].isalpha()
        assert bytes(s.tokens).decode() == s.text
        assert s.cosine == pytest.approx(float(toy.find(s.text) @ toy.find("cat")), abs=1e-5)
    assert all(s.cosine <= middle + 1e-6 for s in kinds(found, "control"))
    assert not {s.text.lower() for s in kinds(found, "control")} & {w for w, _ in toy.near("cat", 3 * 6)}


def test_grades_lie_between_neighbours_and_controls_ever_farther(rng: np.random.Generator) -> None:
    from perturbation_twins import ToyVectors

    words = {"".join(rng.choice(list("abcdefghij"), 7)): rng.normal(size=8) for _ in range(1500)}
    encoder, word = Spelled(next(iter(words))), next(iter(words))
    finder = finder_of(encoder, ToyVectors(words), Counter(dict.fromkeys(words, 5)), grades=3)
    found = encoder.find(finder, word)
    assert [len(kinds(found, f"grade{i}")) for i in (1, 2, 3)] == [3, 3, 3]
    edges = [[s.cosine for s in kinds(found, k)] for k in ("neighbour", "grade1", "grade2", "grade3", "control")]
    for near, far in pairwise(edges):
        assert min(near) > max(far)
    assert len({s.text for s in found}) == len(found), "no word appears twice"


def test_a_candidate_that_cannot_be_encoded_or_does_not_fit_is_skipped(small, toy) -> None:
    first = [w for w, _ in toy.near("cat", 50) if not is_variant("cat", w) and w[0] != "c"]
    encoder = Spelled("cat", forbidden=(first[0],))
    found = encoder.find(finder_of(encoder, toy, small.counts, neighbours=2, controls=2), "cat")
    assert [s.text for s in found if s.kind == "neighbour"] == [w for w in first if first[0] not in w][:2]
    tight = Spelled("cat", n_ctx=3)
    found = tight.find(finder_of(tight, toy, small.counts, neighbours=2, controls=2), "cat")
    assert found
    assert all(len(s.tokens) <= 3 for s in found)


def test_neighbours_grades_and_controls_do_not_begin_with_the_originals_token(small, toy) -> None:
    encoder = Spelled("the sun")
    found = encoder.find(finder_of(encoder, toy, small.counts, neighbours=20, controls=20), "sun")
    meant = [s for s in found[1:] if s.kind not in ("variant", "form")]
    assert len(meant) > 10
    assert not [s.text for s in meant if s.text.startswith("s")], "small, sad, saw … share the token"


def test_variants_are_spellings_and_nothing_else_is(rng: np.random.Generator) -> None:
    from perturbation_twins import ToyVectors

    stem = rng.normal(size=8)
    words = {w: stem + 0.05 * rng.normal(size=8) for w in ("battle", "battles", "battled", "embattled", "war", "fight")}
    words |= {"".join(rng.choice(list("abcdefghij"), 6)): rng.normal(size=8) for _ in range(300)}
    encoder = Spelled("the battle")
    found = encoder.find(finder_of(encoder, ToyVectors(words), Counter(words.keys()), variants=5), "battle")
    assert {s.text for s in kinds(found, "variant")} == {"battles", "battled", "embattled"}
    assert {s.text for s in kinds(found, "neighbour")} >= {"war", "fight"}
    assert not [s for s in found if s.kind in ("neighbour", "control", "grade1") and is_variant("battle", s.text)]


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("the cat", "cat", ["Cat", " cat", "CAT"]),
        ("the Cat", "Cat", ["cat", " Cat", "CAT"]),
        ("the CAT", "CAT", ["cat", " CAT", "Cat"]),
    ],
)
def test_forms_are_other_capitals_and_spaces_of_the_word(small, toy, text, word, expected) -> None:
    encoder = Spelled(text)
    found = encoder.find(finder_of(encoder, toy, small.counts, forms=3), word)
    assert [s.text for s in kinds(found, "form")] == expected
    assert [s.text for s in kinds(encoder.find(finder_of(encoder, toy, small.counts, forms=1), word), "form")] == (
        expected[:1]
    )


def test_space_and_punctuation_inside_the_words_tokens_stay(small, toy) -> None:
    vocabulary = Vocabulary([b"a", b' "cat', b"s", b"!"], np.zeros(4, bool))
    encoder = Spelled("")
    encoder.vocabulary, row = vocabulary, np.array([0, 1, 3])
    finder = finder_of(encoder, toy, small.counts)
    found = [s for s in finder.at_place(row, vocabulary.word_at(row, 1), row_index=0) if s.kind != "form"]
    assert found[0].text == ' "cat'
    assert found[0].tokens == (1,)
    assert all(s.text.startswith(' "') and WORD.fullmatch(s.text[2:]) for s in found[1:])


def test_controls_depend_on_seed_row_and_place_alone(small, toy) -> None:
    encoder = Spelled("the cat saw the cat")
    make = lambda seed: finder_of(encoder, toy, small.counts, seed=seed)  # noqa: E731
    one = encoder.find(make(1), "cat")
    other = make(1)
    encoder.find(other, "saw")
    assert encoder.find(other, "cat") == one
    assert encoder.find(make(1), "cat", row_index=5) != one
    assert encoder.find(make(2), "cat") != one


def test_a_word_without_letters_or_vector_has_only_controls_and_forms(small, toy) -> None:
    encoder = Spelled("12 xyzzy , \n\n cat")
    finder = finder_of(encoder, toy, small.counts)
    for text in ("12", "xyzzy", ",", "\n"):
        found = encoder.find(finder, text)
        assert len(kinds(found, "control")) == 5
        assert not kinds(found, "neighbour", "variant", "grade1", "grade2", "grade3")
        assert all(np.isnan(s.cosine) for s in kinds(found, "control"))
    assert [s.text for s in kinds(encoder.find(finder, "xyzzy"), "form")] == ["Xyzzy", " xyzzy"]


def test_a_control_token_has_only_its_original(small, toy) -> None:
    encoder = Spelled("cat")
    encoder.vocabulary.special[ord("c")] = True
    finder = finder_of(encoder, toy, small.counts)
    assert [s.kind for s in encoder.find(finder, "c")] == ["original"]


def test_a_corpus_without_known_words_has_no_controls(toy) -> None:
    encoder = Spelled("cat")
    found = encoder.find(finder_of(encoder, toy, Counter({"qqq": 3}), neighbours=2, forms=0, variants=0), "cat")
    assert [s.kind for s in found] == ["original", "neighbour", "neighbour"]


def test_common_traits_are_a_shared_form_and_new_words_near_all_of_them(rng: np.random.Generator) -> None:
    from perturbation_twins import ToyVectors

    day = rng.normal(size=32)
    days = ["monday", "tuesday", "friday", "sunday", "holiday", "today", "mondays", "noon"]
    words = {w: day + 0.2 * rng.normal(size=32) for w in days}
    words |= {"".join(rng.choice(list("abcdefghij"), 6)): rng.normal(size=32) for _ in range(400)}
    words |= {w: rng.normal(size=32) for w in ("birthday", "payday", "doomsday", "someday")}
    counts = Counter(dict.fromkeys(words, 5))
    finder = finder_of(Spelled("the monday"), ToyVectors(words), counts, reach=2, examples=2, spelled=2)
    traits, none = finder.common_traits([["Monday", "tuesday", "friday", "MONDAY"], []])
    assert traits.form == "end day"
    assert set(traits.reach) == {"sunday", "holiday", "today", "noon"}, "no variant of one of its words"
    assert none == ("", frozenset(), ())
    encoder = finder.subject
    assert isinstance(encoder, Spelled)
    word = encoder.vocabulary.word_at(encoder.row, 4)
    found = [finder.of_neuron(encoder.row, word, traits, row_index=0, rank=rank) for rank in (0, 1)]
    reached = [s.text for one in found for s in kinds(one, "reach")]
    assert sorted(reached) == sorted(traits.reach), "every example has other new words"
    for one in found:
        spelled = [s.text for s in kinds(one, "spelled")]
        assert len(spelled) == 2
        assert all(s.endswith("day") and s not in traits.words for s in spelled)


def test_the_form_of_capitals_is_tested_with_random_words_in_these_capitals(small, toy) -> None:
    encoder = Spelled("the Cat")
    finder = finder_of(encoder, toy, small.counts, spelled=3)
    word = encoder.vocabulary.word_at(encoder.row, 4)
    traits = CommonTraits("capital first", frozenset({"cat"}), ())
    found = finder.of_neuron(encoder.row, word, traits, row_index=1, rank=0)
    assert [s.kind for s in found] == ["spelled"] * 3
    assert all((s.text[0].isupper() and s.text[1:].islower()) or len(s.text) == 1 for s in found)


def test_elsewhere_takes_the_other_places_space(small, toy) -> None:
    encoder = Spelled("")
    finder = finder_of(encoder, toy, small.counts)
    assert finder.elsewhere(Word("x", 3, 4, spaced=True), "cat") == ("elsewhere", " cat", tuple(b" cat"), 1.0)
    assert finder.elsewhere(Word("x", 3, 4, spaced=False), "cat").text == "cat"
    encoder.n_ctx = 6
    assert finder.elsewhere(Word("x", 3, 4, spaced=True), "cat") is None
