"""The verdict table of a layer: verdict, reason, score and rank of every neuron, by either method.

Invariant: by the default method a neuron's verdict and score depend on its own evidence alone, its rank on all scores.
Cost: O(neurons).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from neurolocal.config import Method, VerdictConfig
from neurolocal.meanings.table import MeaningsTable
from neurolocal.records import PerturbationTable, SimilarityTable, Statistics, VerdictTable
from neurolocal.verdict.evidence import gather
from neurolocal.verdict.notebook import notebook_ranking
from neurolocal.verdict.ranking import ranks, score
from neurolocal.verdict.rules import decide


def verdict_table(
    statistics: Statistics,
    similarity: SimilarityTable | None,
    perturbation: PerturbationTable | None,
    *,
    peaks: Sequence[Mapping[str, int]],
    config: VerdictConfig,
    method: Method = "default",
    routed: Int64[np.ndarray, "neuron"] | None = None,
    around: Float64[np.ndarray, "neuron"] | None = None,
    meanings: MeaningsTable | None = None,
) -> VerdictTable:
    """The verdict, score and rank of every neuron of a layer, in neuron order.

    Args:
        statistics: of all neurons of the layer.
        similarity: figures of any of the neurons, in any order.
        perturbation: the same.
        peaks: of each neuron, its peak words with their number of examples; may be empty.
        config: the thresholds.
        method: `default`: the rules of `rules` and the score of `ranking`; `notebook`: the ranking of `notebook`.
        routed: positions routed to each neuron's expert; None for a layer without experts.
        around: share of the positions around each neuron's peaks that keep half of the activation.
        meanings: the parts of neurons that have several meanings; the other neurons have one.
    """
    assert len(peaks) == len(statistics.maximum), (len(peaks), len(statistics.maximum))
    evidence = gather(statistics, similarity, perturbation, peaks, routed, around, meanings)
    if method == "notebook":
        verdicts, reasons, scores = notebook_ranking(evidence, similarity, perturbation, config)
    else:
        decided = [decide(e, config) for e in evidence]
        verdicts, reasons = [verdict for verdict, _ in decided], [reason for _, reason in decided]
        scores = np.array([score(e, v, config) for e, (v, _) in zip(evidence, decided, strict=True)], dtype=np.float64)
    stored = scores.astype(np.float32)
    return VerdictTable(np.arange(len(peaks), dtype=np.int64), list(verdicts), stored, ranks(stored), reasons)
