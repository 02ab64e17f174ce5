"""Figures as text, the range of a histogram, and values as strict JSON.

Invariant: a figure that was not measured (NaN) is shown as an en dash; strict JSON contains no NaN, no infinity and no
lone surrogate.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, isnan, nan, ulp
from sys import float_info
from typing import Any

from neurolocal.render.visible import plain


@dataclass(frozen=True)
class Figure:
    """A measured figure beside its null, as text and as numbers for a chart."""

    name: str
    """What was measured."""
    text: str
    """The figure as text."""
    null_text: str = ""
    """What chance or controls give; empty if the figure has no null."""
    test: str = ""
    """z, p and q, as far as they were measured; of a score its confidence interval."""
    number: float = nan
    """The figure as a number; NaN if unknown."""
    null_number: float = nan
    """The null as a number; NaN if unknown."""
    meaning: str = ""
    """What the figure is, in one plain sentence; empty if its name says it."""


def number(value: float) -> str:
    """Two decimals, two significant digits if the value is below 0.1; `∞` if infinite, an en dash if NaN."""
    if not isfinite(value):
        return "–" if isnan(value) else ("∞" if value > 0 else "-∞")
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def fixed(value: float) -> str:
    """Two decimals; an en dash if NaN or infinite."""
    return f"{value:.2f}" if isfinite(value) else "–"


def percent(share: float) -> str:
    """A share as `71 %`; an en dash if NaN or infinite."""
    return f"{round(100 * share)} %" if isfinite(share) else "–"


def significance(**values: float) -> str:
    """The results of a significance test, `z = 7.2, p = 0.001`; NaN values are omitted."""
    digits = {"z": ".1f"}
    return ", ".join(f"{name} = {v:{digits.get(name, '.2g')}}" for name, v in values.items() if not isnan(v))


def histogram_range(low: float, high: float, *, bins: int) -> tuple[float, float]:
    """The range of a histogram with equal bins; wider than asked for where no bins fit between numbers so close."""
    least = 2 * max(ulp(max(abs(low), abs(high))), float_info.min)  # of a bin, or numpy rounds its edges to equal ones
    if high - low <= bins * least:
        return low, low + max(1.0, abs(low))
    return low, high


def strict(value: Any) -> Any:
    """The value for strict JSON, at any depth: NaN and infinity as None, lone surrogates as U+FFFD."""
    if isinstance(value, dict):
        return {plain(str(key)): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return plain(value) if isinstance(value, str) else value
