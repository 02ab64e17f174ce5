"""A pattern against a slow twin on random windows, and what it may read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from firing_twins import VOCABULARY, WORDS, Vectors, drawn, example, slow_kernel

from neurolocal.score.firing import count
from neurolocal.score.kernel import TokenKernel
from neurolocal.score.lookup import lookup
from neurolocal.score.pattern import pattern


@pytest.fixture(scope="module")
def kernel() -> TokenKernel:
    return TokenKernel(VOCABULARY, Vectors())


@pytest.mark.parametrize("seed", range(12))
def test_a_pattern_predicts_what_its_slow_twin_does(kernel: TokenKernel, seed: int) -> None:
    examples, table = drawn(seed)
    known: list[tuple[list[int], int, int | None, float]] = []  # row, position, what stands there instead, activation
    most = examples[0].activation
    for e in examples[::2]:
        row = e.tokens.tolist()
        known += [(row, i, None, float(v)) for i, v in enumerate(e.activations) if not np.isnan(v)]
    for i in range(len(table.kind)):
        rank = int(table.rank[i])
        own = table.neuron[i] == 7 and rank % 2 == 0 and rank < len(examples)
        if own and table.kind[i] in ("neighbour", "control", "reach") and table.word[i] in WORDS:
            e = examples[rank]
            known.append((e.tokens.tolist(), e.peak, WORDS.index(table.word[i]), float(table.activation[i])))
    rng = np.random.default_rng(100 + seed)
    noise = rng.integers(0, len(WORDS), 9).tolist()
    at, values = [1, 5, 8], rng.normal(size=3).astype(np.float32)
    known += [(noise, i, None, float(v)) for i, v in zip(at, values, strict=True)]
    y = np.array([min(max(v / most, -0.1), 1.2) for *_, v in known])
    gram = [[slow_kernel(r, i, s, j, at_i=x, at_j=z) for s, j, z, _ in known] for r, i, x, _ in known]
    weights = np.linalg.solve(np.array(gram) + 0.3 * np.eye(len(y)), y - np.median(y))
    found = pattern(
        examples, kernel, neuron=7, substitutes=table, random=(kernel.positions(np.array(noise), at), values)
    )
    fresh = rng.integers(0, len(WORDS), 20).tolist()
    expected = [
        np.median(y)
        + sum(w * slow_kernel(fresh, i, s, j, at_j=z) for w, (s, j, z, _) in zip(weights, known, strict=True))
        for i in range(len(fresh))
    ]
    np.testing.assert_allclose(found.predict(np.array(fresh)), expected, atol=2e-4)
    assert (found.fires(np.array(fresh)) == (np.array(found.predict(np.array(fresh))) >= 0.3)).all()


def test_it_generalises_to_words_that_mean_the_same(kernel: TokenKernel) -> None:
    red, blue, the, of, seven = 2, 4, 9, 10, 6
    examples = [example(r, [the, of, red, of, seven], [0, 0, 5, 0, 0]) for r in range(4)]
    found = pattern(examples, kernel, neuron=0)
    assert found.fires(np.array([of, blue, the, seven])).tolist() == [False, True, False, False]
    assert not lookup(examples, 1).fires(np.array([of, blue])).any()


@pytest.mark.parametrize("seed", range(4))
def test_odd_ranks_are_not_read(kernel: TokenKernel, seed: int) -> None:
    examples, table = drawn(seed)
    other = [
        e if e.rank % 2 == 0 else replace(e, activation=99.0, tokens=e.tokens[::-1], activations=e.activations * 5)
        for e in examples
    ]
    moved = replace(table, activation=np.where(table.rank % 2 == 1, 50.0, table.activation).astype(np.float32))
    row = np.arange(len(WORDS))
    a = pattern(examples, kernel, neuron=7, substitutes=table).predict(row)
    assert np.array_equal(a, pattern(other, kernel, neuron=7, substitutes=moved).predict(row))
    assert lookup(examples, 1) == lookup(other, 1)


@pytest.mark.parametrize("seed", range(3))
def test_lowest_activations_are_negated(kernel: TokenKernel, seed: int) -> None:
    examples, _ = drawn(seed)
    low = [replace(e, activation=-e.activation, activations=-e.activations) for e in examples]
    row = np.arange(len(WORDS))
    for a, b in (
        (pattern(examples, kernel, neuron=7), pattern(low, kernel, neuron=7)),
        (lookup(examples, 1), lookup(low, 1)),
    ):
        assert a.fires(row).tolist() == b.fires(row).tolist()
    rule, most = lookup(examples, 1), examples[0].activation
    rows = [(e.tokens, e.activations) for e in examples]
    assert count(rule, most, rows) == count(rule, -most, [(t, -a) for t, a in rows])


def test_nothing_to_predict_is_an_error(kernel: TokenKernel) -> None:
    silent = [example(0, [1, 2, 3], [0.0, 0.0, 0.0]), example(1, [1, 2, 3], [0.0, 5.0, 0.0])]
    with pytest.raises(ValueError, match="nothing to predict"):
        pattern(silent, kernel, neuron=0)
    with pytest.raises(ValueError, match="nothing to predict"):
        lookup([], 1)
