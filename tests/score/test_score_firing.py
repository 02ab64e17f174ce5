"""Firing prediction: against a slow twin on random windows, and what it may look at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neurolocal.records import Example, SubstituteTable
from neurolocal.score import firing
from neurolocal.words import Vocabulary

WORDS = ("", "red", " red", " Red", " blue", " green", " seven", " eight", ",", " the", " of", "\n", " walk")
VOCABULARY = Vocabulary([w.encode() for w in WORDS], np.array([True] + [False] * (len(WORDS) - 1)))


class Vectors:
    """Colours point one way, numbers another, the rest is unknown."""

    def find(self, word: str) -> np.ndarray | None:
        known = {
            "red": (1, 0, 0.1),
            "blue": (1, 0.2, 0),
            "green": (1, 0.1, 0.2),
            "seven": (0, 1, 0),
            "eight": (0, 1, 0.3),
        }
        found = known.get(word.casefold())
        return None if found is None else (np.array(found) / np.linalg.norm(found)).astype(np.float32)


@pytest.fixture(scope="module")
def tokens() -> firing.Tokens:
    return firing.Tokens(VOCABULARY, Vectors())


def example(rank: int, tokens: list[int], activations: list[float]) -> Example:
    values = np.array(activations, np.float32)
    peak = int(np.nanargmax(np.abs(values)))
    return Example(rank, rank, peak, float(values[peak]), 0, np.array(tokens, np.uint16), values)


def drawn(seed: int) -> tuple[list[Example], SubstituteTable]:
    """Ten random examples, some windows with NaN, and substitutes of this neuron and of another."""
    rng = np.random.default_rng(seed)
    examples = []
    for rank in range(10):
        n = int(rng.integers(3, 12))
        values = rng.normal(0.2, 1.0, n).astype(np.float32)
        values[rng.random(n) < 0.1] = np.nan
        values[int(rng.integers(n))] = 6.0 - 0.3 * rank
        examples.append(example(rank, rng.integers(0, len(WORDS), n).tolist(), values.tolist()))
    m = 30
    table = SubstituteTable(
        neuron=rng.choice([7, 8], m).astype(np.int64),
        rank=rng.integers(0, 12, m).astype(np.int32),
        kind=rng.choice(["original", "neighbour", "control", "alone", "elsewhere", "reach"], m).tolist(),
        word=rng.choice([*WORDS[1:], " two words"], m).tolist(),
        cosine=np.zeros(m, np.float32),
        activation=rng.normal(2.0, 2.0, m).astype(np.float32),
    )
    return examples, table


def slow_alike(a: int, b: int) -> float:
    if a < 0 or b < 0:
        return 0.0
    if a == b:
        return 1.0
    s, t = WORDS[a].strip(), WORDS[b].strip()
    if s.casefold() == t.casefold():
        return 0.85
    u, v = Vectors().find(s), Vectors().find(t)
    return 0.0 if u is None or v is None else 0.7 * max(0.0, float(u @ v)) ** 2


def slow_context(row: list[int], i: int) -> np.ndarray:
    total = np.zeros(3)
    for token in row[max(0, i - 5) : i]:
        v = Vectors().find(WORDS[token].strip())
        total = total if v is None else total + v
    n = np.linalg.norm(total)
    return total / n if n > 1e-9 else np.zeros(3)


def slow_kernel(
    r: list[int], i: int, s: list[int], j: int, *, at_i: int | None = None, at_j: int | None = None
) -> float:
    def at(row: list[int], k: int) -> int:
        return row[k] if 0 <= k < len(row) else -1

    token = slow_alike(at(r, i) if at_i is None else at_i, at(s, j) if at_j is None else at_j)
    previous = slow_alike(at(r, i - 1), at(s, j - 1))
    second, after = slow_alike(at(r, i - 2), at(s, j - 2)), slow_alike(at(r, i + 1), at(s, j + 1))
    context = max(0.0, float(slow_context(r, i) @ slow_context(s, j)))
    around = previous + 0.5 * previous * second + 0.5 * context + 0.5 * after
    return token * (3 + around) + 0.2 * (previous + context + after)


@pytest.mark.parametrize("seed", range(12))
def test_a_pattern_foretells_what_its_slow_twin_does(tokens: firing.Tokens, seed: int) -> None:
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
    found = firing.pattern(
        examples, tokens, neuron=7, substitutes=table, random=(tokens.places(np.array(noise), at), values)
    )
    fresh = rng.integers(0, len(WORDS), 20).tolist()
    expected = [
        np.median(y)
        + sum(w * slow_kernel(fresh, i, s, j, at_j=z) for w, (s, j, z, _) in zip(weights, known, strict=True))
        for i in range(len(fresh))
    ]
    np.testing.assert_allclose(found.foretold(np.array(fresh)), expected, atol=2e-4)
    assert (found.fires(np.array(fresh)) == (np.array(found.foretold(np.array(fresh))) >= 0.3)).all()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n", [1, 5])
def test_a_lookup_fires_at_the_endings_it_saw(seed: int, n: int) -> None:
    examples, _ = drawn(seed)
    half = 0.5 * examples[0].activation
    endings = set()
    for e in examples[::2]:
        for i, value in enumerate(e.activations.tolist()):
            if value >= half and i + 1 >= n:
                endings.add(tuple(e.tokens.tolist()[i + 1 - n : i + 1]))
    rule = firing.lookup(examples, n)
    assert rule.endings == endings
    row = np.concatenate([examples[2].tokens, examples[4].tokens])
    expected = [tuple(row.tolist()[i + 1 - n : i + 1]) in endings if i + 1 >= n else False for i in range(len(row))]
    assert rule.fires(row).tolist() == expected


def test_it_generalises_to_words_that_mean_the_same(tokens: firing.Tokens) -> None:
    red, blue, the, of, seven = 2, 4, 9, 10, 6
    examples = [example(r, [the, of, red, of, seven], [0, 0, 5, 0, 0]) for r in range(4)]
    found = firing.pattern(examples, tokens, neuron=0)
    assert found.fires(np.array([of, blue, the, seven])).tolist() == [False, True, False, False]
    assert not firing.lookup(examples, 1).fires(np.array([of, blue])).any()


@pytest.mark.parametrize("seed", range(4))
def test_odd_ranks_are_not_looked_at(tokens: firing.Tokens, seed: int) -> None:
    examples, table = drawn(seed)
    other = [
        e if e.rank % 2 == 0 else replace(e, activation=99.0, tokens=e.tokens[::-1], activations=e.activations * 5)
        for e in examples
    ]
    moved = replace(table, activation=np.where(table.rank % 2 == 1, 50.0, table.activation).astype(np.float32))
    row = np.arange(len(WORDS))
    a = firing.pattern(examples, tokens, neuron=7, substitutes=table).foretold(row)
    assert np.array_equal(a, firing.pattern(other, tokens, neuron=7, substitutes=moved).foretold(row))
    assert firing.lookup(examples, 1) == firing.lookup(other, 1)


@pytest.mark.parametrize("seed", range(3))
def test_lowest_activations_are_turned_round(tokens: firing.Tokens, seed: int) -> None:
    examples, _ = drawn(seed)
    low = [replace(e, activation=-e.activation, activations=-e.activations) for e in examples]
    row = np.arange(len(WORDS))
    for a, b in (
        (firing.pattern(examples, tokens, neuron=7), firing.pattern(low, tokens, neuron=7)),
        (firing.lookup(examples, 1), firing.lookup(low, 1)),
    ):
        assert a.fires(row).tolist() == b.fires(row).tolist()
    rule, most = firing.lookup(examples, 1), examples[0].activation
    rows = [(e.tokens, e.activations) for e in examples]
    assert firing.score(rule, most, rows) == firing.score(rule, -most, [(t, -a) for t, a in rows])


def test_scores_count_positions_and_leave_out_nan() -> None:
    rule = firing.Lookup(1, frozenset({(1,), (2,)}))
    rows = [
        (np.array([1, 2, 3, 1]), np.array([4.0, 1.0, 4.0, np.nan], np.float32)),
        (np.array([2, 3]), np.array([2.0, 0.0], np.float32)),
    ]
    found = firing.score(rule, 4.0, rows)
    assert found == firing.Score(right=2, wrong=1, missed=1)
    assert (found.precision, found.recall, found.f1) == (2 / 3, 2 / 3, 2 / 3)
    assert np.isnan(firing.Score(0, 3, 0).f1)
    assert np.isnan(firing.Score(0, 3, 0).recall)
    assert firing.Score(0, 0, 3).precision == 0


def test_nothing_to_predict_is_said(tokens: firing.Tokens) -> None:
    silent = [example(0, [1, 2, 3], [0.0, 0.0, 0.0]), example(1, [1, 2, 3], [0.0, 5.0, 0.0])]
    with pytest.raises(ValueError, match="nothing to predict"):
        firing.pattern(silent, tokens, neuron=0)
    with pytest.raises(ValueError, match="nothing to predict"):
        firing.lookup([], 1)
