"""The texts that a description is judged by: strata, weights, marked words."""

from __future__ import annotations

import numpy as np
import pytest
from text_twins import VOCABULARY, WORDS, drawn

from neurolocal.records import Example
from neurolocal.score import texts
from neurolocal.score.texts import SIZE
from neurolocal.words import Vocabulary


@pytest.mark.parametrize("seed", range(8))
def test_every_text_is_what_its_stratum_says(seed: int) -> None:
    examples, rows, random, found = drawn(seed)
    peaks = {int(e.tokens[e.peak]) for e in examples if e.rank % 2 == 0}
    of = {index: (tokens, values) for index, tokens, values in random}
    for text in found:
        if text.stratum == "example":
            (e,) = [e for e in examples if e.row == text.row]
            assert e.rank % 2 == 1
            assert e.activation >= 5.0
            assert text.start <= e.position < text.start + SIZE
            tokens = rows[text.row][text.start : text.start + SIZE]
            assert text.fires
        else:
            tokens = of[text.row][0][text.start : text.start + SIZE]
            values = of[text.row][1][text.start : text.start + SIZE]
            fires = any(v >= 5.0 for v in values.tolist() if v == v)
            near = any(int(t) in peaks for t in tokens)
            assert text.fires == fires
            assert text.stratum == ("fires" if fires else "near" if near else "random")
        assert text.text == "".join(WORDS[t] for t in tokens).strip()
    strata = [t.stratum for t in found]
    assert all(strata.count(s) <= 4 for s in set(strata))
    assert len({(t.row, t.start) for t in found}) == len(found)


@pytest.mark.parametrize("seed", range(4))
def test_weights_add_up_to_the_corpus(seed: int) -> None:
    *_, found = drawn(seed)
    random = [t for t in found if t.stratum != "example"]
    assert sum(t.weight for t in random) == pytest.approx(50_000)
    own = [t for t in found if t.stratum == "example"]
    assert sum(t.weight for t in own) == pytest.approx(6), "as many as fire of its list"


def test_all_drawn_gives_the_true_shares() -> None:
    _, _, random, found = drawn(3, each=10_000)
    starts = [(v[s : s + SIZE], s) for _, _, v in random for s in texts.starts(len(v))]
    fires = np.mean([(np.nan_to_num(v) >= 5).any() for v, _ in starts])
    weighed = sum(t.weight for t in found if t.stratum == "fires") / 50_000
    assert weighed == pytest.approx(fires)


def test_marks_come_in_pairs_of_a_right_and_a_wrong_one() -> None:
    examples, *_ = drawn(1)
    found = texts.marked_texts(examples, VOCABULARY, most=10.0, each=3, rng=np.random.default_rng(0))
    assert [m.fires for m in found] == [True, False] * 3
    for mark in found:
        (e,) = [e for e in examples if e.row == mark.row]
        assert e.rank % 2 == 1
        word = WORDS[int(e.tokens[mark.position - e.start])].strip()
        assert mark.text.count("<<") == mark.text.count(">>") == 1
        assert f"<<{word}>>" in mark.text
        assert (mark.position == e.position) == mark.fires
        assert e.activations[mark.position - e.start] < 2 or mark.fires


def test_a_window_with_marks_of_its_own_is_left_out() -> None:
    words = ["<s>", " cout", " <<", " red", ";", " walk"]
    vocabulary = Vocabulary([w.encode() for w in words], np.array([True] + [False] * 5))
    plain, shift = np.array([1, 5, 3, 4]), np.array([1, 2, 3, 4])
    own = [
        Example(1, 1, 2, 9.0, 0, plain, np.array([0, 0, 9, 0], np.float32)),
        Example(3, 3, 2, 8.0, 0, shift, np.array([0, 0, 8, 0], np.float32)),
    ]
    found = texts.marked_texts(own, vocabulary, most=10.0, each=5, rng=np.random.default_rng(0))
    assert [m.row for m in found] == [1, 1]
