"""Score and rank of the neurons of a layer by the default method.

    score = (concept + r) / 2
    r = c (1 + h) / 2
    c = z / (z + config.halfway)          z of coherence; 0 if negative or not measured
    h = half - control_half               clipped to [0, 1]; 0 if not measured

with `concept` 1 or 0. So concepts score from 0.5 to 1 and rank first; a dead neuron scores 0.
Invariant: a neuron's score depends on its own evidence alone. Cost: O(n log n) for n neurons.
"""

from __future__ import annotations

from math import inf, isnan

import numpy as np
from jaxtyping import Float32, Int64

from neurolocal.config import VerdictConfig
from neurolocal.literals import Verdict
from neurolocal.verdict.evidence import Evidence


def score(e: Evidence, verdict: Verdict, config: VerdictConfig) -> float:
    """The score of one neuron, from 0 to 1."""
    if verdict == "dead":
        return 0.0
    z = max(e.z, 0.0) if not isnan(e.z) else 0.0
    c = 1.0 if z == inf else z / (z + config.halfway)
    h = e.half - e.control_half
    r = c * (1.0 + (0.0 if isnan(h) else min(max(h, 0.0), 1.0))) / 2
    return (1 + r) / 2 if verdict == "concept" else min(r, 0.999) / 2


def ranks(scores: Float32[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """The rank of each neuron by descending score, from 0; ties by lower neuron."""
    found = np.empty(len(scores), dtype=np.int64)
    found[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return found
