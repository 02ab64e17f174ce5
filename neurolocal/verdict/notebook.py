"""The notebook's ranking: of the neurons that similarity kept, average score / the largest average score of the layer.

Invariant: only the columns `kept` of similarity and `score` of perturbation, and whether the neuron is dead, decide.
Cost: O(neurons).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from neurolocal.config import VerdictConfig
from neurolocal.literals import Verdict
from neurolocal.records import PerturbationTable, SimilarityTable
from neurolocal.verdict import reasons
from neurolocal.verdict.evidence import Evidence
from neurolocal.verdict.rules import is_dead


class NotebookRanking(NamedTuple):
    """One entry a neuron."""

    verdicts: list[Verdict]
    """`dead`; `concept` for a score of `config.floor` or more; `unclear`."""
    reasons: list[str]
    """The average score, or why there is none."""
    score: Float64[np.ndarray, "n"]
    """From 0 to 1; 0 for neurons that were not kept."""


def notebook_ranking(
    evidence: Sequence[Evidence],
    similarity: SimilarityTable | None,
    perturbation: PerturbationTable | None,
    config: VerdictConfig,
) -> NotebookRanking:
    """Rank the neurons of a layer, in neuron order; the tables may hold any of them."""
    average = np.full(len(evidence), nan)
    kept = np.zeros(len(evidence), dtype=bool)
    if similarity is not None:
        kept[similarity.neuron] = similarity.kept
    if perturbation is not None:
        average[perturbation.neuron] = perturbation.score
    ranked = kept & np.isfinite(average)
    largest = float(average[ranked].max()) if ranked.any() else nan
    share = np.where(ranked & (largest > 0), average / largest, 0.0).clip(0.0, 1.0)
    share[[i for i, e in enumerate(evidence) if is_dead(e, config) or not ranked[i]]] = 0.0
    verdicts: list[Verdict] = []
    why: list[str] = []
    for i, e in enumerate(evidence):
        if is_dead(e, config):
            verdicts.append("dead")
            why.append(reasons.dead(e, config))
        elif not kept[i]:
            verdicts.append("unclear")
            why.append("notebook: not measured by similarity" if similarity is None else "notebook: not kept")
        elif not ranked[i]:
            verdicts.append("unclear")
            why.append("notebook: kept by similarity, no average score")
        else:
            verdicts.append("concept" if share[i] >= config.floor else "unclear")
            why.append(f"notebook: average score {average[i]:.4g}, {share[i]:.3f} of the layer's {largest:.4g}")
    return NotebookRanking(verdicts, why, share)
