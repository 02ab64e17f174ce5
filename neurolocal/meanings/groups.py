"""Groups of words by average linkage: the one that holds together best, and the best division into parts.

A group of n words holds together by (mean cosine - mean of random pairs) sqrt(n (n - 1) / 2) / their standard
deviation: near 0 for random words, whatever n. Every cut of the tree into at most `CUTS` groups is tried; ties go to
fewer groups. Invariant: a pure function of the vectors and counts. Cost: O(n^2) for n words, 20 by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from neurolocal.config import MeaningsConfig
from neurolocal.similarity.coherence import coherence

CUTS = 8
"""Most groups into which the words are cut."""

Group = Int64[np.ndarray, "_"]
"""The indices of its words."""


class Scale(NamedTuple):
    """Cosines of random pairs of the corpus's words."""

    mean: float
    """Mean."""
    sd: float
    """Standard deviation."""

    def holds(self, unit: Float32[np.ndarray, "n d"]) -> float:
        """How well a group holds together."""
        n = len(unit)
        return (coherence(unit) - self.mean) * sqrt(n * (n - 1) / 2) / self.sd


def cuts(unit: Float32[np.ndarray, "word d"]) -> list[list[Group]]:
    """The groups of each cut of the tree, from one group to `CUTS`."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    n = len(unit)
    distance = np.clip(1.0 - unit.astype(np.float64) @ unit.T, 0.0, 2.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average")
    labels = [fcluster(tree, k, "maxclust") for k in range(1, min(CUTS, n - 1) + 1)]
    return [[np.flatnonzero(of == label) for label in np.unique(of)] for of in labels]


def strongest(unit: Float32[np.ndarray, "word d"], tree: Sequence[Sequence[Group]], scale: Scale, least: int) -> float:
    """How well the group of `least` words or more holds together that does so best. `tree`: as `cuts` gives it."""
    return max(scale.holds(unit[group]) for groups in tree for group in groups if len(group) >= least)


def divide(
    unit: Float32[np.ndarray, "word d"], tree: Sequence[Sequence[Group]], counts: Int64[np.ndarray, "word"],
    scale: Scale, config: MeaningsConfig,
) -> list[Group]:  # fmt: skip
    """The parts of the division whose weakest part holds together best; none where no cut gives two that lie apart.

    Args:
        unit: unit vectors of the distinct words.
        tree: as `cuts` gives it.
        counts: examples on each word.
        scale: of the corpus.
        config: `words` and examples a part at least, `apart`, `cover`.
    """
    best, found = -inf, list[Group]()
    for groups in tree:
        parts = [g for g in groups if len(g) >= config.words and counts[g].sum() >= config.words]
        if len(parts) < 2 or counts[np.concatenate(parts)].sum() < config.cover * counts.sum():
            continue
        holds = min(scale.holds(unit[part]) for part in parts)
        if holds > best and _apart(unit, parts, config.apart):
            best, found = holds, parts
    return found


def _apart(unit: Float32[np.ndarray, "word d"], parts: Sequence[Group], most: float) -> bool:
    """Whether the mean cosine of any two parts is at most that share of the mean cosine within each."""
    within = min(coherence(unit[part]) for part in parts)
    between = max(float((unit[a] @ unit[b].T).mean()) for i, a in enumerate(parts) for b in parts[:i])
    return between <= most * within
