"""Many activations as text with 6 decimals, at once.

Invariant: equals `"%.6f"` of each value, without the sign of a zero. A float32 times 10**6 is exact in float64, and
both round half to even.
Cost: O(values); some 60 bytes a value while it runs.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int64

LARGEST = 1e9
"""Values from here on are written one by one: their digits do not fit."""

GROUPS = np.frombuffer("".join(f"{i:03d}" for i in range(1000)).encode(), np.uint8).reshape(1000, 3)
"""The digits of 0 to 999."""


class Decimals:
    """The text of some values, each followed by `, `."""

    def __init__(self, values: Float[np.ndarray, "n"]) -> None:
        """Write finite values."""
        exact = values.astype(np.float64)
        if np.abs(exact).max(initial=0.0) < LARGEST:
            self._text, self._ends = _written(exact)
            return
        each = [f"{v:.6f}".replace("-0.000000", "0.000000") + ", " for v in exact.tolist()]
        self._text = "".join(each)
        self._ends = np.concatenate([[0], np.cumsum([len(one) for one in each])])

    def part(self, low: int, high: int) -> Decimals:
        """The values `low` to `high`, `high` excluded, without writing them again."""
        made = Decimals.__new__(Decimals)
        made._text, made._ends = self._text, self._ends[low : high + 1]
        return made

    def between(self, first: int, stop: int) -> str:
        """The values `first` to `stop`, `stop` excluded, separated by `, `."""
        return self._text[self._ends[first] : max(self._ends[stop] - 2, self._ends[first])]


def texts(parts: list[Float[np.ndarray, "_"]]) -> list[Decimals]:
    """The texts of several arrays, written together."""
    whole = Decimals(np.concatenate(parts))
    edges = np.cumsum([0, *map(len, parts)]).tolist()
    return [whole.part(low, high) for low, high in pairwise(edges)]


def _written(x: Float[np.ndarray, "n"]) -> tuple[str, Int64[np.ndarray, "_"]]:
    """The text, and where each value begins, with its end."""
    micro = np.rint(np.abs(x) * 1e6).astype(np.int64)
    whole, part = micro // 1_000_000, (micro % 1_000_000).astype(np.int32)
    wide = 3 * max((len(str(int(whole.max(initial=0)))) + 2) // 3, 1)
    chars = np.empty((len(x), 1 + wide + 9), np.uint8)
    chars[:, 0], chars[:, wide + 1], chars[:, -2], chars[:, -1] = b"-"[0], b"."[0], b","[0], b" "[0]
    chars[:, wide + 2 : wide + 5], chars[:, wide + 5 : wide + 8] = GROUPS[part // 1000], GROUPS[part % 1000]
    shown = np.ones(chars.shape, bool)
    shown[:, 0] = (x < 0) & (micro > 0)
    rest = whole.astype(np.int32)
    for last in range(wide, 0, -3):
        chars[:, last - 2 : last + 1] = GROUPS[rest % 1000]
        rest = rest // 1000
    for column in range(1, wide):
        shown[:, column] = whole >= 10 ** (wide - column)
    text = chars[shown].tobytes().decode("ascii")
    return text, np.concatenate([[0], np.cumsum(shown.sum(axis=1))])
