"""A saved page of neuroscope.io -> the texts of one neuron that can be read exactly, and a problem for each other one.

A page states most things twice, and redundant fields must agree: the window with the full text, the printed extremes
and the range of the colours with the values, the token index with the strongest value. Our own pages also carry a
checksum a text (`form.section_checksum`), so every change is seen. In other pages a changed digit is not seen if the
page has it only once: in a data index, or in a value outside the window.
Invariant: nothing is guessed; a text is exact, or it is a problem with a number and a reason. Nothing is downloaded.
Cost: one pass over the page, and a parse of its JSON.
"""

from __future__ import annotations

import html
import json
import math
import re
from typing import Any, NamedTuple

from neurolocal.neuroscope.form import TEXTS
from neurolocal.neuroscope.read.blob import PageError
from neurolocal.neuroscope.read.saved_text import SavedText, Section, read_section

MOST = 1000
"""Missing texts that are named, at most."""

_RULE = re.compile(rb"<hr>[ \t]*(?:\n|\Z)")
_NEURON = re.compile(r"<h2>\s*Neuron (\d{1,9}) in Layer (\d{1,9})\s*</h2>")
_HEADINGS = {name: re.compile(rf"<h1>\s*{name}:\s*(.*?)\s*</h1>", re.DOTALL) for name in ("Model", "Dataset")}
_OWN = re.compile(r"<!-- neurolocal (\{.*\}) -->")
_TRACE = b"\n<!-- neurolocal "  # no token has a line of its own
_TITLE = re.compile(r"<h2>\s*Text #(\d{1,6})\s*</h2>")


class Problem(NamedTuple):
    """Something on a page that could not be read, or that disagrees with another part."""

    text: int | None
    """Number of the text; None is the page."""
    what: str
    """What is wrong, and what was left out because of it."""

    def __str__(self) -> str:
        return self.what if self.text is None else f"text {self.text}: {self.what}"


class SavedPage(NamedTuple):
    """The content of a page."""

    layer: int
    neuron: int
    model: str
    """As its heading names it; empty without a heading."""
    dataset: str
    """The same of the data set."""
    range: float
    """The largest value that the colours show, as printed; NaN without a text."""
    texts: list[SavedText]
    """By number."""
    problems: list[Problem]
    own: dict[str, Any]
    """What our own pages state about the store that they were made from; empty on others."""


def read_page(data: bytes, *, place: tuple[int, int] | None = None) -> SavedPage:
    """Read a page.

    Args:
        data: the file's bytes.
        place: the layer and neuron that the file's path names; None where it names none.

    Raises:
        PageError: the page does not name its neuron, or names another one than its path.
    """
    head, *sections = _sections(data.replace(b"\r\n", b"\n") if b"\r\n" in data else data)
    header = _decoded(head)
    layer, neuron = _neuron(header, place)
    own = _own(header)
    checked = bool(own) or _TRACE in data  # a page of ours without its heading is still ours
    texts: dict[int, Section] = {}
    problems: list[Problem] = []
    doubtful = set[int]()
    for i, section in enumerate(sections):
        text = section.decode("utf-8", "replace")
        broken = "\ufffd" in text and text.encode() != section
        titles, behind = _TITLE.findall(text.partition("<details")[0]), 0
        number = int(titles[0]) if len(titles) == 1 else None
        if text.strip() and (i or titles):  # the first section is for direct logit effects, which the site leaves empty
            try:
                if number is None:
                    raise PageError(f"section {i + 2} of the page has no heading «Text #…»; it is left out")
                found = read_section(header, _decoded(section) if broken else text, number, own=checked)
                behind = found.end
                _require_equal(texts.setdefault(number, found), found, doubtful)
            except PageError as error:
                problems.append(Problem(number, str(error)))
        others = _others(text[behind:], layer, neuron)
        if others is not None:
            problems.append(Problem(number, f"behind it begins the page of {others}; what follows is left out"))
            break
    _missing({*texts, *(p.text for p in problems if p.text is not None)}, sections, problems)
    reach, kept = _of_one_range(texts, doubtful, problems)
    model, dataset = (_heading(header, name) for name in _HEADINGS)
    return SavedPage(layer, neuron, model, dataset, reach, kept, problems, own)


def _require_equal(first: Section, found: Section, doubtful: set[int]) -> None:
    """Compare a text with an earlier one of the same number.

    Raises:
        PageError: they differ; if both may belong to the page, the number is added to `doubtful`.
    """
    if first.reach != found.reach:
        raise PageError(f"it is there again with the range {found.reach:g}; the first is kept")
    if not first.text.equals(found.text):
        doubtful.add(found.text.number)
        raise PageError("it is there twice, and the two differ; both are left out")


def _missing(seen: set[int], sections: list[bytes], problems: list[Problem]) -> None:
    """Add a problem for each text that should be there and is not."""
    if not seen and not problems:
        problems.append(Problem(None, "it ends before its first text"))
        return
    last = max(seen, default=-1)
    problems += [Problem(i, "it is not on the page") for i in range(min(last, MOST)) if i not in seen]
    if last + 1 < TEXTS and b"</html>" not in sections[-1]:
        problems.append(Problem(None, f"it is cut: it has {last + 1} of the usual {TEXTS} texts, and no </html>"))


def _sections(data: bytes) -> list[bytes]:
    """The parts between `<hr>` lines; an `<hr>` inside a token has no line of its own."""
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


def _neuron(header: str, place: tuple[int, int] | None) -> tuple[int, int]:
    """Layer and neuron, from the heading and the path, which must agree."""
    named = {(int(layer), int(neuron)) for neuron, layer in _NEURON.findall(header)}
    if len(named) > 1:
        raise PageError("its heading names several neurons; nothing of it was read")
    if not named and place is None:
        raise PageError(
            "it has no heading «Neuron … in Layer …», and its path is not LAYER/NEURON.html; nothing of it was read"
        )
    stated = named.pop() if named else place
    assert stated is not None
    if place is not None and stated != place:
        raise PageError(
            f"its heading names neuron {stated[1]} of layer {stated[0]}, its path neuron {place[1]} of layer "
            f"{place[0]}; nothing of it was read. Rename the file if its heading is right"
        )
    return stated


def _heading(header: str, name: str) -> str:
    found = _HEADINGS[name].search(header)
    return html.unescape(re.sub(r"<[^>]*>", "", found[1])).strip() if found else ""


def _own(header: str) -> dict[str, Any]:
    found = _OWN.search(header)
    try:
        facts = json.loads(found[1]) if found else {}
    except (ValueError, RecursionError):
        return {"damaged": True}  # the checksums will fail, text by text
    return facts if isinstance(facts, dict) else {"damaged": True}


def _others(behind: str, layer: int, neuron: int) -> str | None:
    """The other neuron whose page begins there, if any: what follows would be its texts."""
    others = {(int(layer), int(neuron)) for neuron, layer in _NEURON.findall(behind)} - {(layer, neuron)}
    return f"neuron {min(others)[1]} of layer {min(others)[0]}" if others else None


def _of_one_range(
    texts: dict[int, Section], doubtful: set[int], problems: list[Problem]
) -> tuple[float, list[SavedText]]:
    """The page's range, and the texts that print it; a text with another range comes from another page.

    The first text follows the page's own heading. So if most texts print another range than the first, none is used.
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
