"""A saved page -> what it says of one neuron: every text that can be read exactly, and the names of those that cannot.

The form is that of neuroscope.io's pages. A page says most things twice, and what it says twice must agree: the window
with the full text, the printed extremes and the colours' range with the values, the token index with the strongest of
them. Our own pages carry a checksum a text besides (`writing.section_checksum`), so there no change goes unseen; of
others a changed digit does that stands in one place alone (a data index, a value outside the window).
Invariant: nothing is guessed; a text is exact or it is a problem with a number and a reason. Nothing is fetched.
Cost: some 4 ms for a page of 20 texts of 1,024 tokens.
"""

from __future__ import annotations

import html
import json
import math
import re
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import orjson
from jaxtyping import Float64

from neurolocal.neuroscope.writing import AFTER, BEFORE, TEXTS, section_checksum

ROUNDED = 0.5e-4 + 1e-9
"""How far a figure printed with four decimals lies from what it rounds, with the six decimals of the values."""

TRIES = 100
"""Ends of a script that are tried for one JSON object."""

MOST = 1000
"""Texts that are named as missing."""

LONGEST = 1 << 16
"""Tokens of a row, of which a window alone may tell: it costs as much room as the whole row."""

_RULE = re.compile(rb"<hr>[ \t]*(?:\n|\Z)")
_NUMBER = r"-?\d+(?:\.\d*)?"
_NEURON = re.compile(r"<h2>\s*Neuron (\d{1,9}) in Layer (\d{1,9})\s*</h2>")
_HEADINGS = {name: re.compile(rf"<h1>\s*{name}:\s*(.*?)\s*</h1>", re.DOTALL) for name in ("Model", "Dataset")}
_OWN = re.compile(r"<!-- neurolocal (\{.*\}) -->")
_TRACE = b"\n<!-- neurolocal "  # no token has a line of its own
_CHECKSUM = re.compile(r"<!-- neurolocal sha256 ([0-9a-f]{64}) -->")
_TITLE = re.compile(r"<h2>\s*Text #(\d{1,6})\s*</h2>")
_FULL = re.compile(r"<h3>\s*Full Text #(\d{1,6})\s*</h3>")
_FIGURES = {
    "range": re.compile(rf"<h4>Max Range: <b>({_NUMBER})</b>\. Min Range: <b>({_NUMBER})</b></h4>"),
    "extremes": re.compile(rf"<h4>Max Act: <b>({_NUMBER})</b>\. Min Act: <b>({_NUMBER})</b></h4>"),
    "data index": re.compile(r"<h4>Data Index: <b>(\d{1,18})</b>(?: \((.*?)\))?</h4>"),
    "token index": re.compile(r"<h4>Max Activating Token Index: <b>(\d{1,9})</b></h4>"),
}
_BLOB = re.compile(r"ColoredTokens,\s*(?=\{)")
_ENDS = {end: re.compile(rf"\)\s*(?:;\s*)?</script>\s*</{end}>") for end in ("summary", "details")}
_KEYS = ("tokens", "values", "minValue", "maxValue")

_LARGEST = float(np.finfo(np.float32).max)


class Text(NamedTuple):
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
    """Whether the full text could be read; else the window alone is here."""
    first: int
    """Position in the row of `tokens[0]`; 0 of a full text."""
    tokens: list[str]
    """Strings, as they stand on the page."""
    values: Float64[np.ndarray, "pos"]
    """Activations, as many as `tokens`."""


class Problem(NamedTuple):
    """Something on a page that could not be read, or does not agree."""

    text: int | None
    """Number of the text; None is the page."""
    what: str
    """What is wrong, and what was left out for it."""

    def __str__(self) -> str:
        return self.what if self.text is None else f"text {self.text}: {self.what}"


class Page(NamedTuple):
    """What a page says."""

    layer: int
    neuron: int
    model: str
    """As its heading names it; empty where it does not."""
    dataset: str
    """The same of the data set."""
    range: float
    """What the colours reach to, as printed; NaN without a text."""
    texts: list[Text]
    """In the page's order."""
    problems: list[Problem]
    own: dict[str, Any]
    """What our own pages say of the store that they were made from; empty on others."""


class PageError(Exception):
    """A page of which nothing can be read, or a text that is left out; the message says why."""


def read_page(data: bytes, *, place: tuple[int, int] | None = None) -> Page:
    """Read a page.

    Args:
        data: the file's bytes.
        place: the layer and neuron that the file's path names, where it names them.

    Raises:
        PageError: the page says not whose it is, or another neuron than its path.
    """
    head, *sections = _sections(data.replace(b"\r\n", b"\n") if b"\r\n" in data else data)
    header = _decoded(head)
    layer, neuron = _whose(header, place)
    own = _own(header)
    checked = bool(own) or _TRACE in data  # a page of ours whose heading is gone is still one
    texts: dict[int, _Found] = {}
    problems: list[Problem] = []
    doubtful = set[int]()
    for i, section in enumerate(sections):
        text = section.decode("utf-8", "replace")
        broken = "\ufffd" in text and text.encode() != section
        titles, behind = _TITLE.findall(text.partition("<details")[0]), 0
        number = int(titles[0]) if len(titles) == 1 else None
        if text.strip() and (i or titles):  # what stands first are direct logit effects, which the site leaves empty
            try:
                if number is None:
                    raise PageError(f"section {i + 2} of the page has no heading «Text #…»; it is left out")
                found = _read_text(header, _decoded(section) if broken else text, number, own=checked)
                behind = found.end
                _not_twice(texts.setdefault(number, found), found, doubtful)
            except PageError as error:
                problems.append(Problem(number, str(error)))
        others = _others(text[behind:], layer, neuron)
        if others is not None:
            problems.append(Problem(number, f"behind it begins the page of {others}; what follows is left out"))
            break
    _missing({*texts, *(p.text for p in problems if p.text is not None)}, sections, problems)
    reach, kept = _of_one_range(texts, doubtful, problems)
    model, dataset = (_heading(header, name) for name in _HEADINGS)
    return Page(layer, neuron, model, dataset, reach, kept, problems, own)


class _Found(NamedTuple):
    """A text, and what else its section says."""

    text: Text
    reach: float
    """The range that it prints."""
    end: int
    """Where in the section its last blob ends."""


def _not_twice(first: _Found, found: _Found, doubtful: set[int]) -> None:
    """That a text of a number that was there before says the same.

    Raises:
        PageError: it does not; where both may be the page's, the number is put to those in doubt.
    """
    if first.reach != found.reach:
        raise PageError(f"it is there again with the range {found.reach:g}; the first is kept")
    if not _same(first.text, found.text):
        doubtful.add(found.text.number)
        raise PageError("it is there twice, and the two differ; both are left out")


def _missing(seen: set[int], sections: list[bytes], problems: list[Problem]) -> None:
    """Name the texts that should be there and are not."""
    if not seen and not problems:
        problems.append(Problem(None, "it ends before its first text"))
        return
    last = max(seen, default=-1)
    problems += [Problem(i, "it is not on the page") for i in range(min(last, MOST)) if i not in seen]
    if last + 1 < TEXTS and b"</html>" not in sections[-1]:
        problems.append(Problem(None, f"it is cut: it has {last + 1} of the usual {TEXTS} texts, and no </html>"))


def _sections(data: bytes) -> list[bytes]:
    """What stands between the lines `<hr>`; one inside a token has no line of its own."""
    found, start = [], 0
    for rule in _RULE.finditer(data):
        line = data.rfind(b"\n", start, rule.start()) + 1 or start
        if not data[line : rule.start()].strip(b" \t"):
            found.append(data[start:line])
            start = rule.end()
    return [*found, data[start:]]


def _decoded(section: bytes) -> str:
    try:
        return section.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PageError(f"a byte that is no UTF-8 ({section[error.start]:#04x}); it is left out") from error


def _whose(header: str, place: tuple[int, int] | None) -> tuple[int, int]:
    named = {(int(layer), int(neuron)) for neuron, layer in _NEURON.findall(header)}
    if len(named) > 1:
        raise PageError("its heading names several neurons; nothing of it was read")
    if not named and place is None:
        raise PageError(
            "it has no heading «Neuron … in Layer …», and its path is not LAYER/NEURON.html; nothing of it was read"
        )
    said = named.pop() if named else place
    assert said is not None
    if place is not None and said != place:
        raise PageError(
            f"its heading names neuron {said[1]} of layer {said[0]}, its path neuron {place[1]} of layer {place[0]}; "
            "nothing of it was read. Rename the file if its heading is right"
        )
    return said


def _heading(header: str, name: str) -> str:
    found = _HEADINGS[name].search(header)
    return html.unescape(re.sub(r"<[^>]*>", "", found[1])).strip() if found else ""


def _own(header: str) -> dict[str, Any]:
    found = _OWN.search(header)
    try:
        said = json.loads(found[1]) if found else {}
    except (ValueError, RecursionError):
        return {"damaged": True}  # the checksums will say so, text by text
    return said if isinstance(said, dict) else {"damaged": True}


def _read_text(header: str, section: str, number: int, *, own: bool) -> _Found:
    """The text of a section."""
    _verify(header, section, own=own)
    start = section.find("<details")
    figures = _figures(section[: start if start >= 0 else len(section)])
    (reach, low), (largest, smallest), (index, dataset), (at,) = figures.values()
    if float(low) != -float(reach):
        raise PageError(f"its range is {low} to {reach}, not even on both sides")
    position = int(at)
    window, full, end = _blobs(section, start, float(reach), number)
    first = max(position - BEFORE, 0)
    if position >= LONGEST:
        raise PageError(f"token index {position} lies beyond any row")
    if full is None:
        tokens, values = window
        if not position - first < len(tokens) <= position + AFTER + 1 - first:
            raise PageError(f"its window of {len(tokens)} tokens cannot hold token index {position}")
    else:
        tokens, values = full
        stop = position + AFTER + 1
        if position >= len(tokens):
            raise PageError(f"token index {position} lies behind its {len(tokens)} tokens")
        if window[0] != tokens[first:stop] or window[1] != values[first:stop]:
            raise PageError(f"its window is not what its full text holds around token index {position}")
        first = 0
    try:
        numbers = np.array(values, np.float64)
    except OverflowError as error:
        raise PageError("it holds a number that is too large") from error
    text = Text(
        number, int(index), html.unescape(dataset or ""), position, float(largest), float(smallest), full is not None,
        first, tokens, numbers,
    )  # fmt: skip
    _agrees(text, float(reach), own=own)
    return _Found(text, float(reach), end)


def _verify(header: str, section: str, *, own: bool) -> None:
    """Compare the checksum that our own pages carry.

    Raises:
        PageError: it is not there though the page is our own, or is another.
    """
    found = _CHECKSUM.search(section)
    if found is None:
        if own:
            raise PageError("its checksum is missing: the page is cut or changed here")
        return
    if _CHECKSUM.search(section, found.end()) or found[1] != section_checksum(header, section[: found.start()]):
        raise PageError("its checksum does not fit: the page was changed here, or in its header")


def _figures(head: str) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, pattern in _FIGURES.items():
        matches = [m.groups() for m in pattern.finditer(head)]
        if len(matches) != 1:
            raise PageError(f"its {name} is there {len(matches)} times, expected once")
        found[name] = matches[0]
    return found


Blob = tuple[list[str], list[float | int]]


def _blobs(section: str, start: int, reach: float, number: int) -> tuple[Blob, Blob | None, int]:
    """The window, the full text where the page goes on to it, and where the last of them ends."""
    window, end = _blob(section, max(start, 0), "summary", reach)
    more = _BLOB.search(section, end)
    if more is None and "</details>" not in section[end:]:
        return window, None, end  # cut behind the window
    headings = _FULL.findall(section, end, len(section) if more is None else more.start())
    if {*map(int, headings)} - {number}:
        raise PageError(f"its full text is headed «Full Text #{headings[0]}»")
    return window, *_blob(section, end, "details", reach)


def _blob(section: str, start: int, end: str, reach: float) -> tuple[Blob, int]:
    what = {"summary": "window", "details": "full text"}[end]
    found = _BLOB.search(section, start)
    if found is None:
        raise PageError(f"its {what} is missing")
    said, stop = _object(section, found.end(), end, what)
    if not isinstance(said, dict) or tuple(said) != _KEYS:
        raise PageError(f"its {what} does not hold tokens, values, minValue and maxValue")
    tokens, values = said["tokens"], said["values"]
    if type(tokens) is not list or type(values) is not list or len(tokens) != len(values) or not tokens:
        raise PageError(f"its {what} has not as many values as tokens")
    try:
        "".join(tokens)
    except TypeError as error:
        raise PageError(f"its {what} holds a token that is no string") from error
    if not set(map(type, values)) <= {float, int}:
        raise PageError(f"its {what} holds an activation that is no number")
    if not all(type(said[name]) in (int, float) for name in ("minValue", "maxValue")):
        raise PageError(f"its {what} has a range that is no number")
    if abs(said["maxValue"] - reach) > ROUNDED or said["minValue"] != -said["maxValue"]:
        raise PageError(f"its {what} is coloured from {said['minValue']:g} to {said['maxValue']:g}, not to {reach:g}")
    return (tokens, values), stop


def _object(section: str, start: int, end: str, what: str) -> tuple[Any, int]:
    """The JSON object that begins there and ends before `)` and the closing tags, and where these end.

    A token may hold such tags, too: then what stands before them is no whole JSON, and the next ones are tried.
    """
    error = f"it does not end with ), </script> and </{end}>"
    for closed in islice(_ENDS[end].finditer(section, start), TRIES):
        body = section[start : closed.start()]
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError as wrong:
            error = str(wrong)
            continue
        if _keys(body) != len(_KEYS):
            raise PageError(f"its {what} has a key twice")
        return said, closed.end()
    raise PageError(f"its {what} is no whole JSON ({error[:60]})")


def _keys(body: str) -> int:
    """How often a key of ours stands in a JSON object; inside a string its quotation marks would be escaped."""
    n, at = 0, body.find(":")
    while at >= 0:
        before = body[max(at - 40, 0) : at].rstrip()
        n += not before or before.endswith(_QUOTED)
        at = body.find(":", at + 1)
    return n


_QUOTED = tuple(f'"{key}"' for key in _KEYS)


def _agrees(text: Text, reach: float, *, own: bool) -> None:
    """That the printed figures are those of the values.

    Raises:
        PageError: they are not.
    """
    values, peak = text.values, float(text.values[text.position - text.first])
    if not (abs(values).max() <= _LARGEST and math.isfinite(reach) and math.isfinite(text.smallest)):
        raise PageError("it holds a number that is too large")
    if float(values.max()) > reach + ROUNDED and not own:
        raise PageError(f"it holds {float(values.max()):g}, beyond its range of {reach:g}")
    if abs(peak - text.largest) > ROUNDED:
        raise PageError(f"its largest activation is {text.largest:g}, but token index {text.position} has {peak:g}")
    if own:
        return  # its peak may be a smallest activation, or BOS be stronger and not count; its checksum fits
    if float(values.max()) != peak:
        raise PageError(f"token index {text.position} has {peak:g}, which is not its largest, {float(values.max()):g}")
    lowest = float(values.min())
    if text.smallest - lowest > ROUNDED or (text.whole and lowest - text.smallest > ROUNDED):
        raise PageError(f"its smallest activation is {text.smallest:g}, but its values go to {lowest:g}")


def _same(a: Text, b: Text) -> bool:
    return a[:-1] == b[:-1] and np.array_equal(a.values, b.values)


def _others(behind: str, layer: int, neuron: int) -> str | None:
    """Which other neuron's page begins there: what follows would be its texts."""
    others = {(int(layer), int(neuron)) for neuron, layer in _NEURON.findall(behind)} - {(layer, neuron)}
    return f"neuron {min(others)[1]} of layer {min(others)[0]}" if others else None


def _of_one_range(texts: dict[int, _Found], doubtful: set[int], problems: list[Problem]) -> tuple[float, list[Text]]:
    """The page's range, and the texts that print it: one with another comes from another page.

    The first text stands behind the page's own heading, so where most print another range than it, none is believed.
    """
    if not texts:
        return math.nan, []
    reach = next(iter(texts.values())).reach
    others = [number for number, found in texts.items() if found.reach != reach]
    if others and 2 * len(others) >= len(texts):
        problems.append(Problem(None, "its first text prints another range than most others; all are left out"))
        return math.nan, []
    for number in others:
        own = texts[number].reach
        problems.append(Problem(number, f"its range is {own:g}, the page's {reach:g}: another page's text"))
    kept = [found.text for n, found in sorted(texts.items()) if found.reach == reach and n not in doubtful]
    return reach, kept
