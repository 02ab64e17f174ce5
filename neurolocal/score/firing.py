"""Where does a neuron fire, and how well does a rule predict it? Counts, precision, recall and F1 over positions.

A neuron fires where its activation is at least `FIRING` of that of its strongest explaining example; this is the task
of Neuron2Graph (Foote et al. 2023, "Neuron to Graph: Interpreting Language Model Neurons at Scale").

Invariant: counts add up over texts; positions whose activation is NaN are left out. A list of lowest activations is
handled by the sign of its strongest example. Cost: one prediction a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Integer

from neurolocal.records import FIRING, Example


@runtime_checkable
class Rule(Protocol):
    """A prediction of where a neuron fires."""

    def fires(self, tokens: Integer[np.ndarray, "pos"]) -> Bool[np.ndarray, "pos"]:
        """Whether it fires, at each position of a row."""
        ...


@dataclass(frozen=True)
class Counts:
    """Predicted against real firing."""

    right: int
    """Positions that were predicted to fire, and fire."""
    wrong: int
    """Positions that were predicted to fire, and do not."""
    missed: int
    """Positions that fire and were not predicted to."""

    def __add__(self, other: Counts) -> Counts:
        """The counts over both sets of positions."""
        return Counts(self.right + other.right, self.wrong + other.wrong, self.missed + other.missed)

    @property
    def precision(self) -> float:
        """Share of the predicted positions that fire; 0 where none was predicted."""
        return self.right / max(self.right + self.wrong, 1)

    @property
    def recall(self) -> float:
        """Share of the firing positions that were predicted; NaN where none fires."""
        real = self.right + self.missed
        return self.right / real if real else float("nan")

    @property
    def f1(self) -> float:
        """2 right / (predicted + firing); NaN where none fires."""
        real = self.right + self.missed
        return 2 * self.right / (real + self.right + self.wrong) if real else float("nan")


def scale(examples: Sequence[Example]) -> float:
    """The activation of the strongest explaining example, with its sign.

    Raises:
        ValueError: there is no even rank, or its activation is 0.
    """
    explain = [e for e in examples if e.rank % 2 == 0]
    strongest = explain[0].activation if explain else 0.0
    if not strongest:
        raise ValueError("no explaining example with an activation: nothing to predict")
    return strongest


def count(rule: Rule, most: float, rows: Iterable[tuple[Integer[np.ndarray, "_"], Float32[np.ndarray, "_"]]]) -> Counts:
    """A rule against the activations of rows.

    Args:
        rule: the prediction.
        most: the `scale` of the neuron.
        rows: (tokens, activations) of each row.
    """
    total = Counts(0, 0, 0)
    for tokens, activations in rows:
        predicted, real = rule.fires(tokens) & ~np.isnan(activations), activations / most >= FIRING
        total += Counts(
            int((predicted & real).sum()), int((predicted & ~real).sum()), int((~predicted & real).sum())
        )  # fmt: skip
    return total


def interval(each: Sequence[Counts], figure: str, *, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """95 % percentile interval of `f1`, `precision` or `recall` over bootstrap draws of texts."""
    if not each:
        return np.nan, np.nan
    counts = np.array([(c.right, c.wrong, c.missed) for c in each])
    drawn = counts[rng.integers(len(each), size=(draws, len(each)))].sum(axis=1)
    figures = np.array([getattr(Counts(*map(int, d)), figure) for d in drawn])
    if np.isnan(figures).all():
        return np.nan, np.nan
    low, high = np.nanquantile(figures, [0.025, 0.975])
    return float(low), float(high)
