"""Values as the cells of a CSV file.

Invariant: a cell is strict (an unknown figure is empty, lists and objects are JSON texts), and no spreadsheet runs it
as a formula: text that begins as one is preceded by an apostrophe.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from neurolocal.render.figures import strict

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def cell(value: Any) -> Any:
    """A value as a cell: text, a whole number, or what `csv` writes as it is."""
    if isinstance(value, list | dict):
        return json.dumps(strict(value))
    if isinstance(value, float):
        return repr(value) if isfinite(value) else ""
    if isinstance(value, str):
        return text_cell(value)
    return "" if value is None else value


def text_cell(text: str) -> str:
    """Text that no spreadsheet runs."""
    return f"'{text}" if text.startswith(FORMULA) else text
