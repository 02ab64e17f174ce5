"""Sensitivity of the verdicts to each threshold: the number of neurons of each verdict at other values of it.

Invariant: one threshold changes at a time; the rules are those of `rules`. Cost: `decide` once a neuron and value, with
five or six values for each of ten thresholds.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from neurolocal.config import VerdictConfig
from neurolocal.records import VERDICTS
from neurolocal.verdict.evidence import Evidence
from neurolocal.verdict.rules import decide

VALUES: dict[str, tuple[float, ...]] = {
    "level": (0.001, 0.01, 0.05, 0.1, 0.2),
    "repetition": (0.6, 0.7, 0.8, 0.9, 1.0),
    "near": (0.02, 0.05, 0.1, 0.2, 0.5),
    "strong": (4.0, 5.0, 6.0, 7.0, 8.0),
    "closed": (2.5, 3.0, 3.5, 4.0, 6.0),
    "half": (0.3, 0.4, 0.5, 0.6, 0.7),
    "shared": (0.5, 0.6, 0.7, 0.8, 0.9),
    "elsewhere": (0.0, 0.1, 0.25, 0.4, 0.5),
    "around": (0.1, 0.25, 0.5, 0.75, 1.0),
    "dead": (0.0, 1e-6, 1e-3, 1e-2, 1e-1),
}
"""The values of each threshold (a field of `VerdictConfig`) that are evaluated beside the value in use."""


class Effect(NamedTuple):
    """The verdicts of a layer at one value of one threshold."""

    threshold: str
    """Field of `VerdictConfig`."""
    value: float
    """Its value."""
    chosen: bool
    """Whether this is the value in use."""
    counts: dict[str, int]
    """Number of neurons of each verdict, all verdicts included."""
    moved: int
    """Neurons whose verdict differs from that with the config as given."""


def effects(evidence: Sequence[Evidence], config: VerdictConfig) -> list[Effect]:
    """The verdicts at each value of each threshold, in the order of the config's fields."""
    current = [decide(e, config)[0] for e in evidence]
    found = []
    for name, values in VALUES.items():
        chosen = getattr(config, name)
        for value in sorted({chosen, *values}):
            verdicts = [decide(e, dataclasses.replace(config, **{name: value}))[0] for e in evidence]
            counts: Counter[str] = Counter(verdicts)
            moved = sum(a != b for a, b in zip(current, verdicts, strict=True))
            found.append(Effect(name, value, value == chosen, {v: counts[v] for v in VERDICTS}, moved))
    return found
