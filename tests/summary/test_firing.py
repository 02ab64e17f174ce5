"""Firing prediction: against plain loops, and what it must not see."""

from collections.abc import Mapping

import numpy as np
import pytest

from neurolocal.records import Example, SubstituteTable
from neurolocal.summary import firing


def random_example(rng: np.random.Generator, rank: int, *, d_vocab: int = 6) -> Example:
    n = int(rng.integers(1, 12))
    values = rng.random(n).astype(np.float32)
    peak = int(values.argmax())
    return Example(rank, rank, peak, float(values[peak]), 0, rng.integers(d_vocab, size=n), values)


def one(tokens: list[int], values: list[float], rank: int = 0) -> Example:
    array = np.array(values, dtype=np.float32)
    return Example(rank, 0, int(array.argmax()), float(array.max()), 0, np.array(tokens), array)


def tried(word: str, kind: str, activation: float, rank: int = 0) -> SubstituteTable:
    return SubstituteTable(
        np.array([3]), np.array([rank], np.int32), [kind], [word],
        np.array([0.5], np.float32), np.array([activation], np.float32),
    )  # fmt: skip


def slowly(examples: list[Example], row: list[int], position: int, longest: int) -> bool:
    """The pattern's answer at a place, by going through all windows again for every length."""
    explain = [e for e in examples if e.rank % 2 == 0]
    threshold = max(e.activation for e in explain) / 2
    for n in range(min(longest, position + 1), 0, -1):
        ending = row[position + 1 - n : position + 1]
        votes = [
            1 if e.activations[i] >= threshold else -1
            for e in explain
            for i in range(n - 1, len(e.tokens))
            if list(e.tokens[i + 1 - n : i + 1]) == ending
        ]
        if votes:
            return sum(votes) > 0
    return False


@pytest.mark.parametrize("seed", range(20))
def test_pattern_is_the_slow_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    examples = [random_example(rng, rank) for rank in range(8)]
    row = rng.integers(7, size=40)
    known = firing.seen(examples)
    said = firing.predict(firing.pattern(known, 0, None, {}), row)
    assert said.tolist() == [slowly(examples, row.tolist(), i, firing.LONGEST) for i in range(40)]


def test_odd_ranks_are_never_seen() -> None:
    known = firing.seen([one([1, 2], [0.1, 4.0]), one([1, 9], [0.1, 100.0], rank=1)])
    rules = firing.pattern(known, 3, tried("x", "neighbour", 99.0, rank=1), {"x": 8})
    assert known.threshold == 2.0
    assert not any({8, 9} & set(ending) for ending in rules)


@pytest.mark.parametrize(
    ("kind", "activation", "fires"),
    [("neighbour", 3.0, True), ("neighbour", 1.0, False), ("control", 3.0, None), ("elsewhere", 3.0, True)],
)
def test_substitutes_that_fired_are_known(kind: str, activation: float, fires: bool | None) -> None:
    known = firing.seen([one([1, 2], [0.1, 4.0])])
    rules = firing.pattern(known, 3, tried(" cat", kind, activation), {" cat": 7})
    assert rules.get((7,)) is fires
    assert (7,) not in firing.pattern(known, 4, tried(" cat", kind, activation), {" cat": 7})
    assert firing.pattern(known, 3, tried("two tokens", kind, activation), {" cat": 7}).get((7,)) is None


def test_context_decides_where_the_token_alone_does_not() -> None:
    known = firing.seen([one([1, 2, 5, 2, 6, 2], [0, 8, 0, 1, 0, 1])])
    rows: Mapping[str, np.ndarray] = {"fires": np.array([1, 2]), "silent": np.array([5, 2]), "unseen": np.array([0, 2])}
    told = {name: firing.predict(firing.pattern(known, 0, None, {}), row)[1] for name, row in rows.items()}
    assert told == {"fires": True, "silent": False, "unseen": False}
    assert firing.predict(firing.lookup(known, 1), rows["silent"])[1]
    assert not firing.predict(firing.lookup(known, 5), rows["fires"])[1]


def test_score_is_counted_position_by_position() -> None:
    values = np.array([5, 5, 0, np.nan, 9], dtype=np.float32)
    found = firing.score({(1,): True}, 2.0, [(np.array([1, 0, 1, 1, 1]), values)])
    assert (found.right, found.wrong, found.missed) == (2, 1, 1)
    assert found.precision == found.recall == found.f1 == pytest.approx(2 / 3)
    assert np.isnan(firing.Score(0, 4, 0).f1)


def test_a_neuron_that_never_fires_is_refused() -> None:
    with pytest.raises(ValueError, match="no explaining example"):
        firing.seen([one([1], [-2.0])])
