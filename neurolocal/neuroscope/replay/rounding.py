"""How a lower dtype rounds in a subject: its float32 activations beside those in bfloat16 or float16, text by text.

The store's difference from the float32 activations is compared with the subject's own rounding error at the same
positions. Of the same weights both have the same size on any machine, and correlate, since weights and inputs are
rounded in the same way.
Cost: two forward passes over the rows of at most `MEASURED` texts; 12 bytes a position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from neurolocal.neuroscope.replay.hypothesis import Hypothesis
from neurolocal.neuroscope.replay.rerun import Computed, computed, shifted
from neurolocal.neuroscope.replay.texts import StoreText, SubjectRows
from neurolocal.subject import Subject

MEASURED = 2000
"""Texts whose rounding is measured."""


class TextRounding(NamedTuple):
    """One text's difference from the float32 activations, beside what the lower dtype rounds there."""

    text: StoreText
    size: float
    """Root mean square of the difference, as a multiple of that of the rounding error; inf if only this is 0."""
    shared: float
    """Cosine of both, over the positions."""
    rounding: float
    """Largest rounding error, as a share of the neuron's largest |activation|."""
    now: float
    """Largest |difference| from the activations in the lower dtype, as the same share."""


def measure_rounding(
    rows: SubjectRows, load: Callable[[str], Subject], texts: Sequence[StoreText], way: Hypothesis, dtype: str
) -> list[TextRounding]:
    """Measure at most `MEASURED` texts; the first ones.

    Args:
        rows: of the texts' store.
        load: loads the subject in a dtype.
        texts: in an order that spreads them over layers.
        way: BOS, site and shift.
        dtype: the lower one, or `autocast`.
    """
    some = texts[:MEASURED]
    exact = load("float32")
    precise = _values(rows, exact, some, way, "float32")
    one = exact if dtype == "autocast" else load(dtype)
    lower = _values(rows, one, some, way, dtype)
    found = [_rounding(t, precise.get(_key(t)), lower.get(_key(t)), rows.rounded) for t in some]
    return [one for one in found if one is not None]


def _key(text: StoreText) -> tuple[int, int, int]:
    return text.layer, text.neuron, text.rank


def _values(
    rows: SubjectRows, subject: Subject, texts: Sequence[StoreText], way: Hypothesis, dtype: str
) -> dict[tuple[int, int, int], Computed]:
    found = {}
    for text, of_sites in computed(rows, subject, texts, dtype=dtype, bos=way.bos, bar=False):
        values, run = of_sites[way.site]
        found[_key(text)] = Computed(shifted(values, way.shift), shifted(run, way.shift))
    return found


def _rounding(
    text: StoreText, precise: Computed | None, lower: Computed | None, decimals: float
) -> TextRounding | None:
    if precise is None or lower is None:
        return None
    both = np.isfinite(text.values) & precise.run & lower.run
    if not both.any():
        return None
    theirs, exact, low = (x[both].astype(np.float64) for x in (text.values, precise.values, lower.values))
    if not (np.isfinite(exact).all() and np.isfinite(low).all()):
        return TextRounding(text, float("inf"), 0.0, float("inf"), float("inf"))
    difference, error, now = _beyond(theirs - exact, decimals), low - exact, _beyond(theirs - low, decimals)
    a, b = float(np.linalg.norm(difference)), float(np.linalg.norm(error))
    size = a / b if b else (float("inf") if a else 0.0)
    shared = float(difference @ error) / (a * b) if a and b else float(a == b)
    return TextRounding(
        text, size, shared, float(np.abs(error).max()) / text.scale, float(np.abs(now).max()) / text.scale
    )


def _beyond(x: Float64[np.ndarray, "pos"], decimals: float) -> Float64[np.ndarray, "pos"]:
    """A difference, less what the pages' decimals explain."""
    return np.sign(x) * np.maximum(np.abs(x) - decimals, 0)
