"""The meanings of a neuron that has several: the words, examples and description of each.

Invariant: empty for a neuron with one meaning, and where the stage has not run. Cost: the rows of its layer's tables
once, then a look-up.
"""

from __future__ import annotations

from typing import NamedTuple

from neurolocal.meanings.described import described_parts
from neurolocal.meanings.table import ranks_by_part
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

    @property
    def title(self) -> str:
        """Its description, else its words, with the number of examples."""
        words = ", ".join(self.words[:WORDS]) + ("…" if len(self.words) > WORDS else "")
        name = f"{self.description}: {words}" if self.description else words
        return f"{name} ({self.examples} example{'s' * (self.examples != 1)})"


def meanings(read: Layer, neuron: int) -> list[Meaning]:
    """The meanings of a neuron; empty where there are not several."""
    table = read.tables["meanings"]
    if table is None:
        return []
    parts, found = table.parts, list[Meaning]()
    described = described_parts(read.text("summary", "parts", neuron) or "")
    for i in (parts.neuron == neuron).nonzero()[0].tolist():
        part, words = int(parts.part[i]), parts.words[i].splitlines()
        found.append(Meaning(part, described.get(part, ""), words, int(parts.n_examples[i]), float(parts.p[i])))
    return found


def part_of(read: Layer, neuron: int) -> dict[int, int]:
    """Rank of an example -> its meaning; examples in none are left out."""
    table = read.tables["meanings"]
    return {} if table is None else ranks_by_part(table).get(neuron, {})
