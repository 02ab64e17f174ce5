"""The scores of one neuron, with a classifier that knows the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from firing_twins import Vectors
from text_twins import VOCABULARY, drawn

from neurolocal.config import ScoreConfig
from neurolocal.records import Neuron
from neurolocal.score.classifier import Classifier
from neurolocal.score.kernel import TokenKernel
from neurolocal.score.random_rows import RandomRows
from neurolocal.score.scorer import DescribedNeuron, LayerTexts, Scorer

CONFIG = ScoreConfig(texts=4, draws=30)


class Oracle(Classifier):
    """Says yes to the first description exactly where the neuron fires; fails on a task."""

    def __init__(self, fires: set[str], fails: str = "") -> None:
        self.fires, self.fails = fires, fails

    def prompt(self, task: Any, text: str) -> str:
        return f"{text} ->"

    def answers(self, task: Any, texts: Sequence[str], descriptions: Sequence[str]) -> np.ndarray:
        if task == self.fails:
            raise RuntimeError("two\nlines")
        rows = [
            [(1.0 if text in self.fires else -1.0) if d == "right" else 0.5 for d in descriptions] for text in texts
        ]
        return np.array(rows).reshape(len(texts), len(descriptions))


@pytest.fixture
def layer() -> tuple[DescribedNeuron, DescribedNeuron, LayerTexts]:
    examples, rows, random, _ = drawn(2)
    values = [v for *_, v in random]
    texts = LayerTexts(
        VOCABULARY, lambda row: rows[row],
        RandomRows(np.array([r for r, *_ in random]), [t for _, t, _ in random], {3: values, 4: values}), 50_000,
    )  # fmt: skip
    return DescribedNeuron(Neuron(3, examples), "right"), DescribedNeuron(Neuron(4, examples), "wrong"), texts


def scorer(layer: LayerTexts, classifier: Classifier | None, **more: Any) -> Scorer:
    return Scorer(layer, **{"classifier": classifier, "vectors": None, "kernel": None, "config": CONFIG, **more})


def test_a_right_description_scores_1_and_its_control_one_half(layer) -> None:
    one, other, texts = layer
    _, used = scorer(texts, None).score(one, other)
    oracle = Oracle({t.prompt for t in used if t.fires})
    scores, used = scorer(texts, oracle).score(one, other)
    found = {s.measure: s for s in scores}
    assert set(found) == {f"detection_{m}" for m in ("auprc", "f1", "iou", "auc")} | {"fuzzing_auc"}
    assert all((s.value, s.low, s.high) == (1, 1, 1) for s in found.values())
    assert found["detection_auc"].control == found["fuzzing_auc"].control == 0.5
    assert {s.against for s in scores} == {4}
    assert found["detection_auc"].n == sum(t.task == "detection" for t in used)
    assert all(t.prompt.endswith(" ->") for t in used)


def test_a_failure_is_noted_at_its_measure_and_the_others_are_taken(layer) -> None:
    one, other, texts = layer
    scores, _ = scorer(texts, Oracle(set(), fails="fuzzing")).score(one, other)
    said = {s.measure: s.said for s in scores}
    assert said.pop("fuzzing_auc") == "RuntimeError: two lines"
    assert set(said.values()) == {""}


def test_equal_seeds_give_equal_scores_and_texts(layer) -> None:
    one, other, texts = layer
    kernel = TokenKernel(VOCABULARY, Vectors())

    def score(seed: int) -> tuple[list[Any], list[Any]]:
        return scorer(texts, None, kernel=kernel, config=replace(CONFIG, seed=seed)).score(one, other)

    assert repr(score(0)) == repr(score(0))
    assert [t.row for t in score(0)[1]] != [t.row for t in score(1)[1]]
    assert {s.measure for s in score(0)[0]} >= {"firing_f1", "token_f1", "ngram_f1", "firing_random_f1"}


def test_a_neuron_without_an_explaining_example_has_a_note(layer) -> None:
    _, other, texts = layer
    scores, used = scorer(texts, None).score(DescribedNeuron(Neuron(3, []), "right"), other)
    assert used == []
    assert [s.said for s in scores] == ["no explaining example with an activation: nothing to predict"]
