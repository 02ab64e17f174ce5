"""The substitutes of a neuron's peak words as shares of the original activation, grouped by kind.

Invariant: each distinct word is listed once, with its largest share. A substitute is compared only with the original of
the same example. Cost: linear in the neuron's rows of the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan

from neurolocal.report.layer import Layer


@dataclass(frozen=True)
class Replacement:
    """A word that replaced a peak word, and the activation that followed."""

    word: str
    """The word."""
    relative: float
    """Its activation / the original's activation; NaN if there is no original."""


MEANINGFUL = ("neighbour", "grade1", "grade2", "grade3", "reach")
"""Kinds of substitutes (`records.KINDS`) that were chosen by their meaning."""


def replacements(read: Layer, neuron: int, *kinds: str, limit: int = 12, lowest: bool = False) -> list[Replacement]:
    """Distinct words of some kinds, strongest (with `lowest`: weakest) first, at most `limit`; unknown shares last."""
    rows = read.substitute_rows.get(neuron, [])
    if not rows:
        return []
    tested = read.tables["perturbation"].substitutes
    originals = {int(tested.rank[i]): float(tested.activation[i]) for i in rows if tested.kind[i] == "original"}
    best: dict[str, float] = {}
    for i in rows:
        if tested.kind[i] in kinds:
            original = originals.get(int(tested.rank[i]), nan)
            relative = float(tested.activation[i]) / original if original else nan
            word = tested.word[i].strip() or tested.word[i]
            best[word] = max(best.get(word, relative), relative)
    sign = 1 if lowest else -1
    order = sorted(best.items(), key=lambda item: (not isfinite(item[1]), sign * item[1], item[0]))
    return [Replacement(word, relative) for word, relative in order[:limit]]


def raising(read: Layer, neuron: int) -> list[Replacement]:
    """Substitutes of like meaning with more activation than the original, strongest first."""
    return [r for r in replacements(read, neuron, *MEANINGFUL) if r.relative > 1]


def lowering(read: Layer, neuron: int) -> list[Replacement]:
    """Near and new words with less than half of the original's activation, weakest first."""
    return [r for r in replacements(read, neuron, "neighbour", "reach", lowest=True) if r.relative < 0.5]
