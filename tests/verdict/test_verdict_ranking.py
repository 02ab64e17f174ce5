"""Score and rank against the formula and a plain sort."""

import math

import numpy as np
import pytest
from verdict_layers import CONFIG

from neurolocal.verdict.evidence import Evidence
from neurolocal.verdict.ranking import ranks, score


def of(z: float = math.nan, half: float = math.nan, control: float = math.nan) -> Evidence:
    return Evidence({}, 1, 1, 1.0, z=z, half=half, control_half=control)


@pytest.mark.parametrize(
    ("evidence", "verdict", "expected"),
    [
        (of(9.1, 0.71, 0.08), "concept", (1 + 9.1 / 13.1 * 1.63 / 2) / 2),
        (of(12.0), "concept", (1 + 0.75 / 2) / 2),
        (of(12.0), "unclear", 0.75 / 4),
        (of(4.0, 0.2, 0.8), "token", 0.5 / 4),
        (of(-3.0, 1.0, 0.0), "form", 0.0),
        (of(), "concept", 0.5),
        (of(math.inf, 1.0, 0.0), "concept", 1.0),
        (of(math.inf, 1.0, 0.0), "context", 0.999 / 2),
        (of(math.inf, 1.0, 0.0), "dead", 0.0),
    ],
)
def test_score_is_the_stated_formula(evidence, verdict, expected):
    assert score(evidence, verdict, CONFIG) == pytest.approx(expected)


def test_concepts_rank_above_all_others(rng: np.random.Generator):
    def figure(low: float, high: float) -> float:
        return float(rng.choice([math.nan, math.inf, *rng.uniform(low, high, 8)]))

    for _ in range(200):
        evidence = of(figure(-5, 30), min(figure(0, 1), 1.0), min(figure(0, 1), 1.0))
        assert 0.5 <= score(evidence, "concept", CONFIG) <= 1
        assert 0 <= score(evidence, "unclear", CONFIG) < 0.5


def test_ranks_equal_a_stable_sort(rng: np.random.Generator):
    scores = rng.integers(0, 6, 40).astype(np.float32)
    order = sorted(range(40), key=lambda i: (-scores[i], i))
    assert [int(ranks(scores)[i]) for i in order] == list(range(40))
    assert ranks(np.empty(0, np.float32)).shape == (0,)
