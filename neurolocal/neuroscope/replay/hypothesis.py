"""How a store's pages may have been made, how well that explains them, and the result of a replay.

A hypothesis names weights, dtype, BOS, site and shift. Its `Fit` is measured over texts; `level` states within which
dtype's rounding the subject and the store agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neurolocal.collect.replay import TOLERANCE
from neurolocal.neuroscope.replay.rerun import FOLDED, TextDifference, by_layer, correlation

ENOUGH = 0.99
"""Share of the texts that must be within the tolerance of the dtype that was computed in."""

NEARLY = 0.95
"""The same within bfloat16's tolerance, for pages that were made in bfloat16 on another machine."""

ALIKE = 0.99
"""Correlation within each layer at or below which nothing agrees, since bfloat16's tolerance is wide."""


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
    near: float
    """Share of the texts within the tolerance of bfloat16."""
    correlation: float
    """Correlation of all activations compared, in the layer where it is lowest."""

    @property
    def level(self) -> str:
        """The dtype within whose rounding it agrees, or `nothing`."""
        low = "bfloat16" if self.way.dtype == "autocast" else self.way.dtype
        if self.agree >= ENOUGH and (low == "float32" or self.correlation > ALIKE):
            return low
        rounded = self.error <= TOLERANCE["bfloat16"] / 4 and self.near >= NEARLY and self.correlation > ALIKE
        return "bfloat16" if rounded else "nothing"


@dataclass(frozen=True)
class NeuronDifference:
    """The texts of one neuron, compared."""

    layer: int
    neuron: int
    texts: int
    same_peak: int
    """Texts whose strongest token is the same."""
    largest: float
    """Largest |difference|."""
    relative: float
    """The same, minus the rounding error of the pages' decimals, as a share of the neuron's largest |activation|."""
    correlation: float


@dataclass(frozen=True)
class ReplayResult:
    """The result of a replay."""

    asked: Fit
    """The requested subject as it is, on all texts."""
    fits: Fit
    """The hypothesis that fits best, on all texts: `asked` or another."""
    tried: tuple[Fit, ...]
    """All hypotheses on some of the rows, best first; only `asked` if it agrees."""
    neurons: tuple[NeuronDifference, ...]
    """Of `asked`, worst first."""
    texts: int
    activations: int
    same_peak: int
    largest: float
    """Largest |difference|."""
    relative: float
    """The same, minus the rounding error of the pages' decimals, as a share of its neuron's largest |activation|."""
    left_out: int
    """Texts whose peak is behind a token with no known id, or beyond the subject's context."""
    absent: int
    """Tokens that the tokenizer does not have."""
    ambiguous: int
    """Tokens whose string belongs to several ids."""

    @property
    def level(self) -> str:
        """The dtype within whose rounding `fits` agrees, or `nothing`."""
        return self.fits.level

    @property
    def agrees(self) -> bool:
        """Whether weights and tokenizer are those of the store, read at a site and in a dtype that the subject has."""
        way = self.fits.way
        plain = way.bos == "as shown" and not way.shift and way.site != FOLDED
        return self.level != "nothing" and way.weights == self.asked.way.weights and plain


def measure_fit(way: Hypothesis, compared: Sequence[TextDifference]) -> Fit:
    """How well a hypothesis fits, from the compared texts."""
    tolerance = TOLERANCE[way.dtype if way.dtype in TOLERANCE else "bfloat16"]
    relative = np.array([c.relative for c in compared])
    each = [correlation(some) for some in by_layer(compared).values()]
    return Fit(
        way, len(compared), float(np.median(relative)), float(np.mean(relative <= tolerance)),
        float(np.mean(relative <= TOLERANCE["bfloat16"])), min((r for r in each if r == r), default=float("nan")),
    )  # fmt: skip


def by_neuron(compared: Sequence[TextDifference]) -> list[NeuronDifference]:
    """The differences of each neuron, worst first."""
    of: dict[tuple[int, int], list[TextDifference]] = {}
    for c in compared:
        of.setdefault((c.text.layer, c.text.neuron), []).append(c)
    found = [
        NeuronDifference(
            layer, neuron, len(some), sum(c.same_peak for c in some), max(c.largest for c in some),
            max(c.relative for c in some), correlation(some),
        )
        for (layer, neuron), some in of.items()
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-one.relative, one.layer, one.neuron))
