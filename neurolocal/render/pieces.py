"""Short texts in one buffer, which numpy joins: thousands of tokens or values a call instead of one at a time.

Invariant: `joined` gives the bytes of the pieces in the order asked for. The text of a number is that of `f"{x:.3g}"`.
Cost: linear in the bytes, and 8 bytes of memory for each of them while they are joined; a piece is made once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

LOWEST, HIGHEST = -46, 39
"""Powers of ten of float32 values, subnormal ones included."""

ZERO, NOT_A_NUMBER, INFINITE, MINUS_INFINITE, FIRST = 0, 1, 2, 3, 4
"""Codes of values without digits, and the code of the first value with digits."""

DIGITS = 900
"""Values of three significant digits, 100 to 999."""


class Places(NamedTuple):
    """Where pieces are in the buffer."""

    begin: Int64[np.ndarray, "*piece"]
    length: Int64[np.ndarray, "*piece"]


class Pieces:
    """A buffer of texts in UTF-8."""

    def __init__(self) -> None:
        """Empty."""
        self._buffer = np.empty(1 << 16, np.uint8)
        self._count = np.arange(1 << 16)
        self.size = 0
        """Bytes in use. Setting it back forgets the last pieces."""

    def add(self, text: bytes) -> tuple[int, int]:
        """Take up a text; gives where it begins, and its length."""
        begin, stop = self.size, self.size + len(text)
        if stop > len(self._buffer):
            self._buffer = np.concatenate([self._buffer, np.empty(max(stop, len(self._buffer)), np.uint8)])
        self._buffer[begin:stop] = np.frombuffer(text, np.uint8)
        self.size = stop
        return begin, len(text)

    def joined(self, places: Places) -> tuple[bytes, Int64[np.ndarray, "piece"]]:
        """Pieces one after another as one text, and where each one ends in it."""
        ends = places.length.cumsum()
        source = np.repeat(places.begin - ends + places.length, places.length)
        if len(source) > len(self._count):
            self._count = np.arange(2 * len(source))
        source += self._count[: len(source)]
        return self._buffer.take(source, mode="clip").tobytes(), ends


class Numbers:
    """Values as texts of three significant digits, each followed by a space."""

    def __init__(self, pieces: Pieces) -> None:
        """Texts in a buffer."""
        self._pieces = pieces
        n = FIRST + 2 * DIGITS * (HIGHEST - LOWEST)
        self._places = Places(np.full(n, -1), np.zeros(n, np.int64))

    def places(self, values: Float32[np.ndarray, "n"]) -> Places:
        """Where the texts of some values are."""
        codes = number_codes(values)
        begin, length = self._places
        unknown = np.flatnonzero(begin[codes] < 0)
        for i in unknown[np.unique(codes[unknown], return_index=True)[1]].tolist():
            text = f"{float(values[i]) + 0.0:.3g} "  # -0.0 is written as 0
            begin[codes[i]], length[codes[i]] = self._pieces.add(text.encode())
        return Places(begin[codes], length[codes])


def number_codes(values: Float32[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """A number for each value; values have the same one exactly if three significant digits of them are equal."""
    size = np.abs(values.astype(np.float64))
    plain = np.isfinite(size) & (size > 0)
    size[~plain] = 1.0
    power = np.floor(np.log10(size)).astype(np.int64)
    digits = np.rint(size * TO_DIGITS[power - LOWEST])
    power += digits >= 1_000  # rounded up to the next power, or the logarithm was
    digits = np.where(digits >= 1_000, np.rint(size * TO_DIGITS[power - LOWEST]), digits)
    power -= digits < 100
    digits = np.where(digits < 100, np.rint(size * TO_DIGITS[power - LOWEST]), digits)
    codes = FIRST + 2 * (DIGITS * (power - LOWEST) + digits.astype(np.int64) - 100) + (values < 0)
    if not plain.all():
        codes[values == 0] = ZERO
        codes[np.isnan(values)] = NOT_A_NUMBER
        codes[values == np.inf] = INFINITE
        codes[values == -np.inf] = MINUS_INFINITE
    return codes


TO_DIGITS = 10.0 ** (2 - np.arange(LOWEST, HIGHEST + 1))
"""What makes a value of each power of ten one of three digits before the point."""
