"""The meanings of a neuron that has several: the words, examples, description and scores of each.

Invariant: empty for a neuron with one meaning, and where the stage has not run. Cost: the rows of its layer's tables
once, then a look-up.
"""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

import numpy as np

from neurolocal.meanings.described import described_parts
from neurolocal.records import MEASURES
from neurolocal.render.figures import fixed
from neurolocal.report.layer import Layer

WORDS = 8
"""Words of a meaning that are shown."""


class Meaning(NamedTuple):
    """One meaning."""

    part: int
    """Its number, from 1."""
    description: str
    """One line; empty where `summary` has not described it."""
    words: list[str]
    """Its distinct peak words, commonest first."""
    examples: int
    """Examples in it."""
    p: float
    """Probability that among as many random words of the same frequency a group holds together as well."""
    scores: dict[str, tuple[float, float]]
    """Measure -> its value for the description of this meaning alone, and that of another neuron's description."""

    @property
    def title(self) -> str:
        """Its description and words, with the number of examples, and the score that leads."""
        words = ", ".join(self.words[:WORDS]) + ("…" if len(self.words) > WORDS else "")
        name = f"{self.description}: {words}" if self.description else words
        measure = next((m for m in MEASURES if m in self.scores), None)
        score = "" if measure is None else f"; {measure.replace('_', ' ')} {_beside(*self.scores[measure])}"
        return f"{name} ({self.examples} example{'s' * (self.examples != 1)}{score})"


def meanings(read: Layer, neuron: int) -> list[Meaning]:
    """The meanings of a neuron; empty where there are not several."""
    if neuron not in read.ranks_by_part:
        return []
    parts, found = read.tables["meanings"].parts, list[Meaning]()
    described = described_parts(read.text("summary", "parts", neuron) or "")
    for i in (parts.neuron == neuron).nonzero()[0].tolist():
        part, words = int(parts.part[i]), parts.words[i].splitlines()
        found.append(Meaning(
            part, described.get(part, ""), words, int(parts.n_examples[i]), float(parts.p[i]),
            _scores(read, neuron, part),
        ))  # fmt: skip
    return found


def _scores(read: Layer, neuron: int, part: int) -> dict[str, tuple[float, float]]:
    """Measure -> value and control of a meaning; measures without a value are left out."""
    if read.tables["score"] is None:
        return {}
    table = read.tables["score"].parts
    rows = ((table.neuron == neuron) & (table.part == part) & np.isfinite(table.value)).nonzero()[0].tolist()
    return {table.measure[i]: (float(table.value[i]), float(table.control[i])) for i in rows}


def _beside(value: float, control: float) -> str:
    return fixed(value) + (f", another's {fixed(control)}" if isfinite(control) else "")
