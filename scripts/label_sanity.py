"""NeuronEval's two sanity tests (ICML 2025) on the scores of a store: does a score notice wrong labels?

`missing labels`: in half of the text where the neuron fires the description says what it says of a silent text. `extra
labels`: as much text again, all of it silent, is said to fit as well as a text where it fires. Both are stated of the
corpus: a text that stands for w texts is divided, so that half of w, or the share of the silent text that is as much as
the firing text, gets the wrong label. A score that a description leads with must fall in both by more than the texts
and neurons that were drawn explain.

Invariant: the same seed gives the same figures. Cost: 2 x `draws` figures for each neuron, score and test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from neurolocal.records import ScoreTable
from neurolocal.score import measures

Test = Literal["missing labels", "extra labels"]

TESTS: tuple[Test, ...] = ("missing labels", "extra labels")

SCORES: dict[str, tuple[str, str, measures.Figure]] = {
    "detection_auprc": ("detection", "answer", measures.auprc),
    "detection_f1": ("detection", "answer", measures.f1),
    "detection_iou": ("detection", "answer", measures.iou),
    "detection_auc": ("detection", "answer", measures.auc),
    "fuzzing_auc": ("fuzzing", "answer", measures.auc),
    "embedding_auprc": ("detection", "similarity", measures.auprc),
    "embedding_auc": ("detection", "similarity", measures.auc),
}
"""Score -> its task, the column of its answers, and its figure."""


LEAST = 0.01
"""Smallest fall that counts: scores are shown with two decimals."""


class Labelled(NamedTuple):
    """The texts of one neuron with the answers of one column."""

    truth: np.ndarray
    """Whether it fires in each text."""
    answers: np.ndarray
    weights: np.ndarray
    """Texts of the corpus that each stands for."""


class Fall(NamedTuple):
    """What a test does to a score, as means over neurons."""

    score: str
    test: Test
    n: int
    """Neurons."""
    before: float
    after: float
    low: float
    """Lower end of the 95 % interval of before - after, over neurons and texts."""
    high: float
    """Upper end."""

    @property
    def significant(self) -> bool:
        """Whether the score falls by more than the draw explains, and by enough to be seen in two decimals."""
        return self.low > LEAST


def falls(tables: Sequence[ScoreTable], *, right: bool = False, draws: int = 200, seed: int = 0) -> list[Fall]:
    """What both tests do to every score that the tables have answers of; `right`: as if each answer were true."""
    found = []
    for score, (task, column, figure) in SCORES.items():
        neurons = [one for table in tables for one in labelled(table, task, "fires" if right else column)]
        if neurons and not (right and column == "similarity"):
            found += [_fall(score, test, neurons, figure, draws, np.random.default_rng([seed, 1])) for test in TESTS]
    return found


def labelled(table: ScoreTable, task: str, column: str) -> list[Labelled]:
    """The texts of each neuron that has both kinds, where the column has an answer; `fires` is 1 or -1."""
    texts, found = table.texts, []
    answers = np.where(texts.fires, 1.0, -1.0) if column == "fires" else getattr(texts, column).astype(np.float64)
    here = np.array([t == task for t in texts.task], bool) & ~np.isnan(answers)
    for neuron in np.unique(texts.neuron[here]):
        own = here & (texts.neuron == neuron)
        one = Labelled(texts.fires[own], answers[own], texts.weight[own].astype(np.float64))
        if one.truth.any() and not one.truth.all():
            found.append(one)
    return found


def mislabelled(one: Labelled, test: Test, *, natural: bool, rng: np.random.Generator) -> Labelled:
    """The texts with wrong answers for part of what they stand for.

    Args:
        one: the texts.
        test: what is wrong.
        natural: whether weights count in the figure; otherwise each text counts 1, less the part that is wrong.
        rng: which text's answer stands in the wrong place.
    """
    truth, answers, weights = one
    wrong = truth if test == "missing labels" else ~truth
    share = 0.5 if test == "missing labels" else min(weights[truth].sum() / weights[~truth].sum(), 1.0)
    base = weights if natural else np.ones(len(truth))
    instead = rng.choice(answers[~wrong], int(wrong.sum()))
    return Labelled(
        np.concatenate([truth, truth[wrong]]),
        np.concatenate([answers, instead]),
        np.concatenate([base * np.where(wrong, 1 - share, 1.0), base[wrong] * share]),
    )


def lines(found: Sequence[Fall]) -> list[str]:
    """One line a score and test."""
    made = []
    for f in found:
        said = "falls" if f.significant else "does not fall significantly"
        made.append(
            f"{f.score.replace('_', ' ')}, {f.test}: {f.before:.3f} -> {f.after:.3f} over {f.n} neurons, {said} "
            f"(by {f.before - f.after:+.3f}, 95 %: {f.low:+.3f} to {f.high:+.3f})"
        )
    return made


def _fall(
    score: str, test: Test, neurons: Sequence[Labelled], figure: measures.Figure, draws: int, rng: np.random.Generator
) -> Fall:
    """The texts behind the score before and after are drawn apart, as by two readers who each score one description."""
    natural = figure is not measures.auc
    before, after = np.zeros((draws, len(neurons))), np.zeros((draws, len(neurons)))
    for i, one in enumerate(neurons):
        for draw in range(draws):
            right, wrong = _resampled(one, rng), _resampled(one, rng)
            before[draw, i] = figure(
                right.truth, right.answers, right.weights if natural else np.ones(len(right.truth))
            )
            after[draw, i] = figure(*mislabelled(wrong, test, natural=natural, rng=rng))
    some = rng.integers(len(neurons), size=(draws, len(neurons)))
    gap = np.take_along_axis(before - after, some, axis=1).mean(axis=1)
    low, high = np.quantile(gap, [0.025, 0.975])
    return Fall(score, test, len(neurons), float(before.mean()), float(after.mean()), float(low), float(high))


def _resampled(one: Labelled, rng: np.random.Generator) -> Labelled:
    """As many true and as many false texts, drawn with replacement."""
    kinds = (np.flatnonzero(one.truth), np.flatnonzero(~one.truth))
    i = np.concatenate([kind[rng.integers(len(kind), size=len(kind))] for kind in kinds])
    return Labelled(*(column[i] for column in one))
