"""Look-up tables: a neuron fires after exactly the tokens after which it was seen to fire.

The two tables of Neuron2Graph (Foote et al. 2023) that a pattern is compared with: of one token and of five.
Invariant: made from even ranks only. Cost: one pass over the windows; memory for one tuple of n token ids a firing
position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer

from neurolocal.records import FIRING, Example
from neurolocal.score.firing import scale


@dataclass(frozen=True)
class Lookup:
    """A rule that fires after given runs of tokens."""

    n: int
    """Tokens of a run; the last one is at the position itself."""
    endings: frozenset[tuple[int, ...]]
    """The runs of token ids."""

    def fires(self, tokens: Integer[np.ndarray, "pos"]) -> Bool[np.ndarray, "pos"]:
        """Whether it fires, at each position of a row."""
        row = tokens.tolist()
        return np.array([tuple(row[max(0, i + 1 - self.n) : i + 1]) in self.endings for i in range(len(row))], bool)


def lookup(examples: Sequence[Example], n: int) -> Lookup:
    """The look-up table of the even ranks' windows.

    Raises:
        ValueError: there is no even rank with an activation.
    """
    most, endings = scale(examples), set[tuple[int, ...]]()
    for e in examples:
        if e.rank % 2 == 0:
            row = e.tokens.tolist()
            at = np.flatnonzero(e.activations / most >= FIRING)  # NaN is not
            endings.update(tuple(row[i + 1 - n : i + 1]) for i in at.tolist() if i + 1 >= n)
    return Lookup(n, frozenset(endings))
