"""Which neurons are described, in which order."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np
from tables import filled

from neurolocal.config import SummaryConfig
from neurolocal.records import SimilarityTable, VerdictTable
from neurolocal.summary import stage

VERDICTS = filled(
    VerdictTable, [0, 1, 2, 3], verdict=["concept", "dead", "token", "unclear"],
    score=[0.4, 0.9, 0.8, 0.0], rank=[2, 0, 1, 3],
)  # fmt: skip
COHERENCE = filled(SimilarityTable, [0, 1, 2, 3], p=[0.5, 0.01, 0.01, np.nan], score=[0.9, 0.2, 0.3, np.nan])


def best(limit: int | None = None, **tables: Any) -> list[int]:
    store = SimpleNamespace(evidence=lambda name, layer, side: tables.get(name), neurons=lambda layer: np.arange(4))
    return inspect.unwrap(stage.best)(SimpleNamespace(store=store), 0, "largest", SummaryConfig(limit=limit))


def test_best_verdicts_first_without_dead_ones_and_those_without_a_score() -> None:
    assert best(verdict=VERDICTS, similarity=COHERENCE) == [2, 0]


def test_without_verdicts_the_most_coherent_first() -> None:
    assert best(similarity=COHERENCE) == [2, 1, 0, 3]


def test_without_evidence_in_their_order_and_never_more_than_the_limit() -> None:
    assert best() == [0, 1, 2, 3]
    assert best(limit=3) == [0, 1, 2]
