"""Does a description fit a text by word vectors alone, without an LLM?

The fit is the largest cosine of a word of the text with the mean vector of the description's words. Invariant: NaN
where a side has no word with a vector. Cost: one vector lookup and one product of width d for each distinct word.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32

from neurolocal.score.kernel import VectorLookup
from neurolocal.words import WORD

FURNITURE = frozenset(
    {"the", "word", "words", "letters", "within", "of", "and", "in", "ending", "beginning", "capital", "things", "no"}
)
"""Words of the description templates that are not about what they describe."""


def meaning(description: str, vectors: VectorLookup) -> Float32[np.ndarray, "w d"] | None:
    """The unit vectors of a description's words; None where none has one."""
    found = _found((w for w in WORD.findall(description) if w.casefold() not in FURNITURE), vectors)
    return np.stack(found) if found else None


def similarity(text: str, description: Float32[np.ndarray, "w d"] | None, vectors: VectorLookup) -> float:
    """Largest cosine of the text's words with the mean of the description's vectors; NaN where it is not defined."""
    if description is None:
        return float("nan")
    mean = description.mean(axis=0)
    found = _found(WORD.findall(text), vectors)
    return float(max(v @ mean for v in found) / (np.linalg.norm(mean) + 1e-9)) if found else float("nan")


def _found(words: Iterable[str], vectors: VectorLookup) -> list[Float32[np.ndarray, "d"]]:
    return [v for w in dict.fromkeys(words) for v in [vectors.find(w)] if v is not None]
