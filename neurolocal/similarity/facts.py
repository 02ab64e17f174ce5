"""Quality of word vectors: agreement with people's judgements of similarity, and coverage of the corpus.

Invariant: plain JSON values; a figure that could not be measured is None. The judgements are those of WordSim-353
(Finkelstein et al., 2002) and SimLex-999 (Hill et al., 2015), which are part of gensim's test data. Cost: one look-up
for each judged pair and each distinct word of the corpus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neurolocal.similarity.vectors import Vectors, judgements
from neurolocal.words import folded

FEW = 0.5
"""A coverage of the running words under this gives a warning."""

PAIRS = 30
"""Fewest known pairs for which a correlation is given."""


def vector_facts(vectors: Vectors, word_counts: Mapping[str, int]) -> dict[str, Any]:
    """Spearman's correlation with people's judgements, coverage, both as one line (`said`), and warnings."""
    from scipy.stats import rankdata

    facts: dict[str, Any] = {"name": vectors.name, "words": len(vectors), "dimensions": vectors.matrix.shape[1]}
    warnings = []
    for name, pairs in judgements().items():
        known = [(a @ b, score) for one, other, score in pairs
                 if (a := vectors.find(one)) is not None and (b := vectors.find(other)) is not None]  # fmt: skip
        rho = float(np.corrcoef(rankdata(np.array(known).T, axis=1))[0, 1]) if len(known) >= PAIRS else None
        facts[name] = {"spearman": rho, "known": len(known), "pairs": len(pairs)}
    letters = {word: n for word, n in folded(word_counts).items() if any(c.isalpha() for c in word)}
    types, tokens = vectors.coverage(letters)
    facts["coverage"] = {"types": _rounded(types), "tokens": _rounded(tokens)}
    if not tokens >= FEW:
        warnings.append(
            f"they know {100 * tokens:.0f} % of the corpus's running words: neurons on the others have no figures. "
            "Use vectors of the corpus's language, or --vectors corpus."
            if letters
            else "the corpus has no words of letters"
        )
    return {**facts, "said": _as_line(facts), "warnings": warnings}


def _as_line(facts: Mapping[str, Any]) -> str:
    """The facts as one line of text."""
    parts = []
    for name in ("wordsim353", "simlex999"):
        rho, known, pairs = (facts[name][key] for key in ("spearman", "known", "pairs"))
        parts.append(f"{name} {'not comparable' if rho is None else f'{rho:.2f}'} ({known} of {pairs} pairs known)")
    tokens = facts["coverage"]["tokens"]
    share = "none" if tokens is None else f"{100 * tokens:.0f} %"
    return f"{facts['name']}: Spearman with people's judgements: {', '.join(parts)}; {share} of running words known"


def _rounded(share: float) -> float | None:
    return round(share, 4) if share == share else None
