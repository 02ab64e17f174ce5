"""NeuronEval's sanity tests: what each score does when labels are dropped or added."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from tables import filled

from neurolocal.records import ScoredTextTable, ScoreTable

TESTS = ("missing labels", "extra labels")


@pytest.fixture
def sanity(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    import label_sanity

    sys.modules.pop("label_sanity")
    return label_sanity


def table(neurons: int, *, noise: float, seed: int = 0) -> ScoreTable:
    """Neurons that fire in one text of a thousand, and answers that are right but for some noise."""
    rng, each = np.random.default_rng(seed), 24
    fires = np.tile(np.arange(each) < each // 3, neurons)
    texts = filled(
        ScoredTextTable, np.repeat(np.arange(neurons), each), task=["detection"] * len(fires), fires=fires,
        weight=np.where(fires, 1.0, 500.0), answer=np.where(fires, 2.0, -2.0) + noise * rng.normal(size=len(fires)),
        similarity=np.full(len(fires), np.nan),
    )  # fmt: skip
    return filled(ScoreTable, [0], measure=["detection_auprc"], texts=texts)


def test_scores_in_natural_proportion_fall_in_both_and_auc_does_not(sanity: ModuleType) -> None:
    """Why AUC does not lead: twice as many labels are one text of a thousand wrong."""
    found = {(f.score, f.test): f for f in sanity.falls([table(8, noise=0.8)], draws=40)}
    for score in ("detection_auprc", "detection_f1", "detection_iou"):
        assert all(found[score, test].significant for test in TESTS), score
    assert found["detection_auc", "missing labels"].significant
    assert not found["detection_auc", "extra labels"].significant
    assert "detection auc, extra labels" in "\n".join(sanity.lines(list(found.values())))


def test_right_answers_fall_to_what_the_definition_says(sanity: ModuleType) -> None:
    """Half of the labels: recall 1/2, F1 2/3. Twice the labels: precision 1/2, F1 2/3, AUPRC 1/2."""
    found = {(f.score, f.test): f for f in sanity.falls([table(3, noise=9.0)], right=True, draws=20)}
    assert all(np.isclose(f.before, 1) for f in found.values())
    for test in TESTS:
        assert np.isclose(found["detection_f1", test].after, 2 / 3)
        assert np.isclose(found["detection_iou", test].after, 1 / 2)
    assert np.isclose(found["detection_auprc", "extra labels"].after, 1 / 2)
    assert np.isclose(found["detection_auc", "extra labels"].after, 1 - 1 / 1000 / 2, atol=1e-3)


def test_answers_that_say_nothing_fall_nowhere(sanity: ModuleType) -> None:
    rng = np.random.default_rng(5)
    one = table(8, noise=0.0)
    object.__setattr__(one.texts, "answer", rng.normal(size=len(one.texts.fires)).astype(np.float32))
    assert not any(f.significant for f in sanity.falls([one], draws=40) if f.score == "detection_auprc")


def test_what_a_text_stands_for_stays(sanity: ModuleType, rng: np.random.Generator) -> None:
    truth = np.array([True, True, False, False, False])
    one = sanity.Labelled(truth, np.arange(5.0), np.array([1.0, 2.0, 10.0, 20.0, 30.0]))
    for test in TESTS:
        wrong = sanity.mislabelled(one, test, natural=True, rng=rng)
        assert np.isclose(wrong.weights[wrong.truth].sum(), 3)
        assert np.isclose(wrong.weights.sum(), 63)
        moved = wrong.weights[5:].sum()
        assert np.isclose(moved, 1.5 if test == "missing labels" else 3.0)
