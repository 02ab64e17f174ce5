"""What the measurements, the plan and its text share.

Cost: none.
"""

from __future__ import annotations

import math


def mean_span(row_length: int, window: int | None) -> float:
    """Positions that a position attends to, itself included, on average over a row."""
    reach = min(row_length, window or row_length)
    return (reach * (reach + 1) / 2 + (row_length - reach) * reach) / row_length


def entries(rows: float | int, k: int) -> float:
    """Examples that have entered a list of k after so many rows in random order: k (1 + ln(rows / k))."""
    return min(rows, k) + k * math.log(max(rows, k) / k)


def size(n: float | int) -> str:
    """Bytes for a reader."""
    for unit, one in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if n >= one:
            return f"{n / one:,.2f} {unit}"
    return f"{n / 1024:,.1f} KiB"
