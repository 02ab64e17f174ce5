"""Figures as text: two decimals, per cent, and an en dash where nothing was measured; and values as strict JSON."""

from __future__ import annotations

from math import isfinite
from typing import Any

from neurolocal.render.visible import plain


def number(value: float) -> str:
    """Two decimals, more where the value is small; an en dash where unknown."""
    if not isfinite(value):
        return "–" if value != value else ("∞" if value > 0 else "-∞")
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def fixed(value: float) -> str:
    """Two decimals; an en dash where unknown."""
    return f"{value:.2f}" if isfinite(value) else "–"


def percent(share: float) -> str:
    """`71 %`; an en dash where unknown."""
    return f"{round(100 * share)} %" if isfinite(share) else "–"


def tests(**values: float) -> str:
    """`z = 7.2, p = 0.001`: those that were measured."""
    return ", ".join(f"{k} = {v:.1f}" if k == "z" else f"{k} = {v:.2g}" for k, v in values.items() if v == v)


def strict(value: Any) -> Any:
    """The value for strict JSON, at any depth: NaN and infinity as None, lone surrogates as U+FFFD."""
    if isinstance(value, dict):
        return {plain(str(key)): strict(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [strict(held) for held in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return plain(value) if isinstance(value, str) else value
