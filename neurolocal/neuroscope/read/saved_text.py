"""One section of a saved page -> its text: row number, peak, tokens and activations.

Invariant: redundant fields must agree: the window with the full text, the printed extremes with the values, the token
index with the strongest value. A text that fails is a `PageError`; nothing is repaired.
Cost: one parse of each of the section's two JSON objects.
"""

from __future__ import annotations

import html
import math
import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from neurolocal.neuroscope.form import AFTER, BEFORE, section_checksum
from neurolocal.neuroscope.read.blob import BLOB, ROUNDED, Blob, PageError, read_blob

LONGEST_ROW = 1 << 16
"""Tokens of a row at most: a window needs as much memory as its whole row."""

_NUMBER = r"-?\d+(?:\.\d*)?"
_CHECKSUM = re.compile(r"<!-- neurolocal sha256 ([0-9a-f]{64}) -->")
_FULL = re.compile(r"<h3>\s*Full Text #(\d{1,6})\s*</h3>")
_FIGURES = {
    "range": re.compile(rf"<h4>Max Range: <b>({_NUMBER})</b>\. Min Range: <b>({_NUMBER})</b></h4>"),
    "extremes": re.compile(rf"<h4>Max Act: <b>({_NUMBER})</b>\. Min Act: <b>({_NUMBER})</b></h4>"),
    "data index": re.compile(r"<h4>Data Index: <b>(\d{1,18})</b>(?: \((.*?)\))?</h4>"),
    "token index": re.compile(r"<h4>Max Activating Token Index: <b>(\d{1,9})</b></h4>"),
}
_LARGEST = float(np.finfo(np.float32).max)


class SavedText(NamedTuple):
    """One text of a page."""

    number: int
    """Its number on the page, from 0 (strongest)."""
    data_index: int
    """Row number in the page's data set."""
    dataset: str
    """The data set, as the page names it beside the index."""
    position: int
    """Of the strongest token in its row."""
    largest: float
    """The row's largest activation, as printed (four decimals)."""
    smallest: float
    """The same of the smallest."""
    whole: bool
    """Whether the full text could be read; else only the window is here."""
    first: int
    """Position in the row of `tokens[0]`; 0 of a full text."""
    tokens: list[str]
    """Strings, as the page writes them."""
    values: Float64[np.ndarray, "pos"]
    """Activations, as many as `tokens`."""

    def equals(self, other: SavedText) -> bool:
        """Whether both hold the same values."""
        return self[:-1] == other[:-1] and np.array_equal(self.values, other.values)


class Section(NamedTuple):
    """A section of a page that could be read."""

    text: SavedText
    reach: float
    """The range that it prints: the largest value that the colours show."""
    end: int
    """Where in the section its last JSON object ends."""


def read_section(header: str, section: str, number: int, *, own: bool) -> Section:
    """Read a section.

    Args:
        header: of the page; the checksum covers it.
        section: from its heading on.
        number: of the text, as the heading states it.
        own: whether the page is one of ours, whose sections have a checksum.

    Raises:
        PageError: the section is damaged, or two of its fields disagree.
    """
    _require_checksum(header, section, own=own)
    start = section.find("<details")
    figures = _figures(section[: start if start >= 0 else len(section)])
    (reach, low), (largest, smallest), (index, dataset), (at,) = figures.values()
    if float(low) != -float(reach):
        raise PageError(f"its range is {low} to {reach}, not even on both sides")
    position = int(at)
    window, full, end = _blobs(section, start, float(reach), number)
    if position >= LONGEST_ROW:
        raise PageError(f"token index {position} lies beyond any row")
    first = max(position - BEFORE, 0)
    tokens, values = _tokens(window, full, position, first)
    try:
        numbers = np.array(values, np.float64)
    except OverflowError as error:
        raise PageError("it holds a number that is too large") from error
    text = SavedText(
        number, int(index), html.unescape(dataset or ""), position, float(largest), float(smallest), full is not None,
        first if full is None else 0, tokens, numbers,
    )  # fmt: skip
    _require_agreement(text, float(reach), own=own)
    return Section(text, float(reach), end)


def _tokens(window: Blob, full: Blob | None, position: int, first: int) -> Blob:
    """The full text, or the window if there is none; both must agree."""
    stop = position + AFTER + 1
    if full is None:
        if not position - first < len(window.tokens) <= stop - first:
            raise PageError(f"its window of {len(window.tokens)} tokens cannot hold token index {position}")
        return window
    if position >= len(full.tokens):
        raise PageError(f"token index {position} lies behind its {len(full.tokens)} tokens")
    if window.tokens != full.tokens[first:stop] or window.values != full.values[first:stop]:
        raise PageError(f"its window is not what its full text holds around token index {position}")
    return full


def _require_checksum(header: str, section: str, *, own: bool) -> None:
    """Compare the checksum that our own pages carry.

    Raises:
        PageError: the page is ours and the checksum is missing, or it differs.
    """
    found = _CHECKSUM.search(section)
    if found is None:
        if own:
            raise PageError("its checksum is missing: the page is cut or changed here")
        return
    if _CHECKSUM.search(section, found.end()) or found[1] != section_checksum(header, section[: found.start()]):
        raise PageError("its checksum does not fit: the page was changed here, or in its header")


def _figures(head: str) -> dict[str, tuple[str, ...]]:
    """The printed figures by name; each must be there once."""
    found = {}
    for name, pattern in _FIGURES.items():
        matches = [m.groups() for m in pattern.finditer(head)]
        if len(matches) != 1:
            raise PageError(f"its {name} is there {len(matches)} times, expected once")
        found[name] = matches[0]
    return found


def _blobs(section: str, start: int, reach: float, number: int) -> tuple[Blob, Blob | None, int]:
    """The window, the full text if the section has one, and where the last of them ends."""
    window, end = read_blob(section, max(start, 0), "summary", reach)
    more = BLOB.search(section, end)
    if more is None and "</details>" not in section[end:]:
        return window, None, end  # cut behind the window
    headings = _FULL.findall(section, end, len(section) if more is None else more.start())
    if {*map(int, headings)} - {number}:
        raise PageError(f"its full text is headed «Full Text #{headings[0]}»")
    full, end = read_blob(section, end, "details", reach)
    return window, full, end


def _require_agreement(text: SavedText, reach: float, *, own: bool) -> None:
    """Compare the printed figures with the values.

    Raises:
        PageError: they differ by more than rounding.
    """
    values, peak = text.values, float(text.values[text.position - text.first])
    if not (abs(values).max() <= _LARGEST and math.isfinite(reach) and math.isfinite(text.smallest)):
        raise PageError("it holds a number that is too large")
    if float(values.max()) > reach + ROUNDED and not own:
        raise PageError(f"it holds {float(values.max()):g}, beyond its range of {reach:g}")
    if abs(peak - text.largest) > ROUNDED:
        raise PageError(f"its largest activation is {text.largest:g}, but token index {text.position} has {peak:g}")
    if own:
        return  # the peak may be a smallest activation, or an uncounted BOS may be stronger; the checksum fits
    if float(values.max()) != peak:
        raise PageError(f"token index {text.position} has {peak:g}, which is not its largest, {float(values.max()):g}")
    lowest = float(values.min())
    if text.smallest - lowest > ROUNDED or (text.whole and lowest - text.smallest > ROUNDED):
        raise PageError(f"its smallest activation is {text.smallest:g}, but its values go to {lowest:g}")
