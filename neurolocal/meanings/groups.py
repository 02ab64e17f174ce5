"""Groups of words by average linkage: the one that holds together best, and the best division into parts.

A group of n words holds together by (mean cosine - mean of random pairs) sqrt(n (n - 1) / 2) / their standard
deviation: near 0 for random words, whatever n. Every cut of the tree into at most `CUTS` groups is tried; ties go to
fewer groups. Invariant: a pure function of the vectors and counts. Cost: O(n^2) for n words, 20 by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

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

    def holds(self, cosine: float | Float64[np.ndarray, "_"], n: int | Float64[np.ndarray, "_"]) -> np.ndarray:
        """How well a group of n words with that mean cosine holds together."""
        return np.asarray((cosine - self.mean) * np.sqrt(n * (n - 1) / 2) / self.sd)


class Division(NamedTuple):
    """Parts that lie apart."""

    parts: list[Group]
    """Two or more; each word is in one of them or in none."""
    holds: float
    """How well the weakest of them holds together."""


def cuts(unit: Float32[np.ndarray, "word d"]) -> Iterator[list[Group]]:
    """The groups of each cut of the tree, from one group to `CUTS`."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    n = len(unit)
    distance = np.clip(1.0 - unit.astype(np.float64) @ unit.T, 0.0, 2.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average")
    for k in range(1, min(CUTS, n - 1) + 1):
        labels = fcluster(tree, k, "maxclust")
        yield [np.flatnonzero(labels == label) for label in np.unique(labels)]


def strongest(unit: Float32[np.ndarray, "word d"], scale: Scale, least: int) -> tuple[Group, float]:
    """The group of `least` words or more that holds together best, and how well; all words where there is none."""
    best, found = np.arange(len(unit)), -np.inf
    for groups in cuts(unit):
        for group in groups:
            if len(group) >= least and (holds := _holds(unit, group, scale)) > found:
                best, found = group, holds
    return best, found


def divide(
    unit: Float32[np.ndarray, "word d"], counts: Int64[np.ndarray, "word"], scale: Scale, config: MeaningsConfig
) -> Division | None:
    """The division whose weakest part holds together best; None where no cut gives two parts that lie apart.

    Args:
        unit: unit vectors of the distinct words.
        counts: examples on each.
        scale: of the corpus.
        config: `words` and examples a part at least, `apart`, `cover`.
    """
    best: Division | None = None
    for groups in cuts(unit):
        parts = [g for g in groups if len(g) >= config.words and counts[g].sum() >= config.words]
        if len(parts) < 2 or counts[np.concatenate(parts)].sum() < config.cover * counts.sum():
            continue
        if not _apart(unit, parts, config.apart):
            continue
        holds = min(_holds(unit, part, scale) for part in parts)
        if best is None or holds > best.holds:
            best = Division(parts, holds)
    return best


def _apart(unit: Float32[np.ndarray, "word d"], parts: list[Group], most: float) -> bool:
    """Whether the mean cosine of any two parts is at most that share of the mean cosine within each."""
    within = min(coherence(unit[part]) for part in parts)
    between = max(float((unit[a] @ unit[b].T).mean()) for i, a in enumerate(parts) for b in parts[:i])
    return between <= most * within


def _holds(unit: Float32[np.ndarray, "word d"], group: Group, scale: Scale) -> float:
    return float(scale.holds(coherence(unit[group]), len(group)))
