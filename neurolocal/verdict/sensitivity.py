"""What every threshold of the verdict does: how many neurons would get which verdict at other values of it.

Invariant: one threshold is moved at a time, the others stay; the rules are the verdict's own. Cost: some 25 us a neuron
and value, 40 values.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from neurolocal.config import VerdictConfig
from neurolocal.records import VERDICTS
from neurolocal.verdict.rules import Evidence, decide

VALUES: dict[str, tuple[float, ...]] = {
    "level": (0.001, 0.01, 0.05, 0.1, 0.2),
    "repetition": (0.6, 0.7, 0.8, 0.9, 1.0),
    "near": (0.02, 0.05, 0.1, 0.2, 0.5),
    "strong": (3.0, 4.0, 6.0, 8.0, 12.0),
    "half": (0.3, 0.4, 0.5, 0.6, 0.7),
    "shared": (0.5, 0.6, 0.7, 0.8, 0.9),
    "elsewhere": (0.0, 0.1, 0.25, 0.4, 0.5),
    "dead": (0.0, 1e-6, 1e-3, 1e-2, 1e-1),
}
"""Other values of each threshold between verdicts (fields of `VerdictConfig`), tried beside the one in use."""


class Effect(NamedTuple):
    """The verdicts of a layer at one value of one threshold."""

    threshold: str
    """Field of `VerdictConfig`."""
    value: float
    """What it was set to."""
    chosen: bool
    """Whether that is the value that the verdicts in the store were made with."""
    counts: dict[str, int]
    """Neurons by verdict, every verdict named."""
    moved: int
    """Neurons whose verdict differs from the one with the config as it is."""


def effects(evidence: Sequence[Evidence], config: VerdictConfig) -> list[Effect]:
    """The verdicts at each value of each threshold, in the order of the config's fields."""
    now = [decide(e, config)[0] for e in evidence]
    found = []
    for name, values in VALUES.items():
        chosen = getattr(config, name)
        for value in sorted({chosen, *values}):
            then = [decide(e, dataclasses.replace(config, **{name: value}))[0] for e in evidence]
            counts = Counter(then)
            moved = sum(a != b for a, b in zip(now, then, strict=True))
            found.append(Effect(name, value, value == chosen, {v: counts[v] for v in VERDICTS}, moved))
    return found
