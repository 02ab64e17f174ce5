"""Two clusters of words in one neuron are found, and one is left whole; examples join by word and context."""

from __future__ import annotations

import numpy as np
import pytest
from meaning_twins import DIMENSIONS, naive_holds, null_of, points, pool_of, world

from neurolocal.config import MeaningsConfig
from neurolocal.fdr import q_values
from neurolocal.meanings.groups import cuts, divide, strongest
from neurolocal.meanings.layer import table
from neurolocal.meanings.parts import joined, meanings_of
from neurolocal.meanings.points import content_words

CONFIG = MeaningsConfig()

SEED = 11
"""What these tests assert is true of most draws, so the draws are fixed."""


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(SEED)
    vectors, groups = world(rng, clusters=6, each=12, others=500)
    pool = pool_of(vectors, groups, rng)
    return vectors, groups, null_of(pool, vectors)


def draw(words: list[str], n: int, rng: np.random.Generator) -> list[str]:
    return rng.choice(words, n).tolist()


def test_two_concepts_are_found_with_their_examples(made) -> None:
    vectors, groups, null = made
    rng = np.random.default_rng(SEED)
    words = draw(groups[0], 11, rng) + draw(groups[1], 9, rng)
    order = rng.permutation(20)
    found = meanings_of(points([words[i] for i in order], vectors), null, CONFIG)
    assert found.p < 0.01
    assert found.group_p <= 0.05
    truth = [set(np.flatnonzero(order < 11).tolist()), set(np.flatnonzero(order >= 11).tolist())]
    assert [set(part.examples.tolist()) for part in found.parts] == truth  # most examples first
    assert set(found.parts[0].words) == set(words[:11])
    for part in found.parts:
        assert part.p <= found.p
        unit = np.stack([vectors.find(w) for w in sorted(set(part.words))]).astype(float)
        assert part.cohesion == pytest.approx((unit @ unit.T)[np.triu_indices(len(unit), 1)].mean(), abs=1e-5)


@pytest.mark.slow
def test_one_concept_with_chance_words_is_left_whole(made) -> None:
    vectors, groups, null = made
    rng = np.random.default_rng(SEED)
    p = [
        meanings_of(points(draw(groups[k % 6], 14, rng) + draw(groups[-1], 6, rng), vectors), null, CONFIG)
        for k in range(40)
    ]
    assert all(one.group_p <= 0.05 for one in p)  # the concept itself is seen
    assert np.mean([one.p <= 0.05 for one in p]) <= 0.1


def test_random_words_are_not_asked(made) -> None:
    vectors, groups, null = made
    rng = np.random.default_rng(SEED)
    found = [meanings_of(points(draw(groups[-1], 18, rng), vectors), null, CONFIG) for _ in range(20)]
    assert np.mean([np.isnan(one.p) for one in found]) >= 0.8
    assert not any(one.parts for one in found if np.isnan(one.p))


def test_few_words_are_not_asked(made) -> None:
    vectors, groups, null = made
    found = meanings_of(points(groups[0][:3] * 3 + groups[1][:2] * 3, vectors), null, CONFIG)
    assert (found.n_words, found.parts) == (5, [])
    assert np.isnan([found.p, found.group_p]).all()


def test_strongest_and_divide_equal_trying_every_cut(made) -> None:
    vectors, groups, null = made
    rng = np.random.default_rng(SEED)
    words = [*groups[2][:5], *groups[3][:4], *rng.choice(groups[-1], 4, replace=False).tolist()]
    one = points(words + words[:3], vectors)
    tree = cuts(one.unit)
    held = [naive_holds(one.unit[group], null.scale) for cut in tree for group in cut if len(group) >= 3]
    assert strongest(one.unit, tree, null.scale, 3) == pytest.approx(max(held), abs=1e-3)
    parts = divide(one.unit, tree, one.counts, null.scale, CONFIG)
    assert sorted(sorted(part.tolist()) for part in parts) == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]
    whole = divide(one.unit, tree, one.counts, null.scale, MeaningsConfig(cover=1.0))
    assert len(np.concatenate(whole)) == len(words)  # the chance words had to go somewhere
    weakest = [min(naive_holds(one.unit[g], null.scale) for g in some) for some in (whole, parts)]
    assert weakest[0] < weakest[1]


def test_an_example_joins_by_word_and_context(made) -> None:
    vectors, groups, _ = made
    rng = np.random.default_rng(SEED)
    words = [*groups[0][:4], *groups[1][:4], *groups[-1][:2], groups[0][5]]
    contexts = rng.normal(size=(11, DIMENSIONS)).astype(np.float32)
    contexts[[1, 2, 3, 8]] = contexts[0]  # the ninth stands where the first group stands
    contexts /= np.linalg.norm(contexts, axis=1, keepdims=True)
    one = points(words, vectors, contexts)
    members = [np.arange(4), np.arange(4, 8)]
    by_word = joined(one, members, MeaningsConfig(context=0.0))
    assert by_word[0].tolist() == [0, 1, 2, 3, 10]
    assert by_word[1].tolist() == [4, 5, 6, 7]
    by_context = joined(one, members, MeaningsConfig(context=1.0))
    assert 8 in by_context[0].tolist()
    assert 8 not in by_context[1].tolist()


def test_function_words_symbols_and_variants_are_no_points(made) -> None:
    vectors, groups, _ = made
    a, b = groups[0][:2]
    words, unit, of_example = content_words([a, "the", ",", "12", a.upper(), b, f"{a}s", "unheard"], vectors)
    assert words == [a, b]
    np.testing.assert_array_equal(unit, np.stack([vectors.find(a), vectors.find(b)]))
    assert of_example.tolist() == [0, -1, -1, -1, 0, 1, 0, -1]


def test_the_table_keeps_parts_at_the_level(made) -> None:
    vectors, groups, null = made
    rng = np.random.default_rng(SEED)
    lists = [draw(groups[0], 10, rng) + draw(groups[1], 10, rng), draw(groups[2], 20, rng), draw(groups[-1], 20, rng)]
    found = [meanings_of(points(words, vectors), null, CONFIG) for words in lists]
    q = q_values(np.array([one.p for one in found]))
    made_table = table(np.array([4, 7, 9]), found, q, [20, 20, 20], 0.05)
    assert made_table.neuron.tolist() == [4, 7, 9]
    assert made_table.n_parts.tolist() == [2, 0, 0]
    assert made_table.parts.neuron.tolist() == [4, 4]
    assert made_table.parts.part.tolist() == [1, 2]
    assert made_table.members.neuron.tolist() == [4] * 20
    assert made_table.members.rank.tolist() == list(range(20))
    for part in (1, 2):
        own = {lists[0][rank] for rank in range(20) if made_table.members.part[rank] == part}
        assert own == set(made_table.parts.words[part - 1].splitlines())
    none = table(np.array([4, 7, 9]), found, q, [20, 20, 20], 0.0)
    assert not none.n_parts.any()
    assert not len(none.parts.neuron)
    assert not len(none.members.neuron)
