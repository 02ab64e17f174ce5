"""How a store's pages may have been made, and how well that explains them.

A hypothesis names weights, dtype, BOS, site and shift. Its `Fit` orders hypotheses; whether one agrees is judged layer
by layer (`layers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neurolocal.collect.replay import TOLERANCE
from neurolocal.neuroscope.replay.rerun import TextDifference, by_layer, correlation


class Hypothesis(NamedTuple):
    """One way in which the pages may have been made."""

    subject: str
    """Its name."""
    weights: str
    """SHA-256 of its weights."""
    dtype: str
    """`float32`, `bfloat16`, `float16`, or `autocast`: float32 weights under bfloat16 autocast."""
    bos: str
    """`as shown`, `put before` (the pages do not show it), `left out` (they show one that was not run)."""
    site: str
    shift: int
    """Positions by which the pages' values are shifted behind their tokens."""

    def unlike(self, asked: Hypothesis) -> list[str]:
        """The differences from the requested one, in words."""
        other = self.subject if self.subject != asked.subject else f"another {self.subject} ({self.weights[:8]}…)"
        differences = {
            "weights": f"the subject is {other}, not {asked.subject}",
            "dtype": f"computed in {_DTYPES[self.dtype]}, not {_DTYPES[asked.dtype]}",
            "bos": {"put before": "a BOS that the pages do not show was put before every row",
                    "left out": "the BOS that the pages show was not run"}.get(self.bos, ""),
            "site": f"read at {self.site}, not {asked.site}",
            "shift": f"values stand {abs(self.shift)} position {'behind' if self.shift > 0 else 'before'} their tokens",
        }  # fmt: skip
        return [text for name, text in differences.items() if getattr(self, name) != getattr(asked, name)]


_DTYPES = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "float16": "float16",
    "autocast": "float32 under bfloat16 autocast",
}


@dataclass(frozen=True)
class Fit:
    """How well one hypothesis explains the texts."""

    way: Hypothesis
    texts: int
    error: float
    """Median over the texts of the largest |difference|, as a share of the neuron's largest |activation|."""
    agree: float
    """Share of the texts within the tolerance of its dtype."""
    correlation: float
    """Correlation of all activations compared, in the layer where it is lowest."""


def measure_fit(way: Hypothesis, compared: Sequence[TextDifference]) -> Fit:
    """How well a hypothesis fits, from the compared texts."""
    tolerance = TOLERANCE[way.dtype if way.dtype in TOLERANCE else "bfloat16"]
    relative = np.array([c.relative for c in compared])
    each = [correlation(some) for some in by_layer(compared).values()]
    return Fit(
        way, len(compared), float(np.median(relative)), float(np.mean(relative <= tolerance)),
        min((r for r in each if r == r), default=float("nan")),
    )  # fmt: skip
