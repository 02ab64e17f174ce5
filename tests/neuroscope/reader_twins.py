"""Three readers of Neuroscope pages, each written from the description in `neuroscope-format.md` alone; all raise."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any, NamedTuple


class RefusedError(Exception):
    """A reader does not take the page."""


class Found(NamedTuple):
    """One text, as a reader sees it."""

    tokens: list[str]
    values: list[float]
    position: int | None = None
    row: int | None = None


class _Modules(HTMLParser):
    """Every script of type module."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script" and dict(attrs).get("type") == "module"
        if self._inside:
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.found[-1] += data


def by_scripts(page: str) -> list[Found]:
    """Every second script of type module; tokens are split at `, ` and lose their quotation marks."""
    parser = _Modules()
    parser.feed(page)
    found = []
    for script in parser.found[0::2]:
        tokens = re.search(r'\{"tokens": \[(.*?)\], "values', script)
        values = re.search(r'"values": \[(.*?)\]', script)
        if not tokens or not values:
            raise RefusedError("a script without tokens or values")
        found.append(
            Found(tokens[1].replace('"', "").split(", "), [float(x) for x in values[1].replace('"', "").split(",")])
        )
    return found


def by_splitting(page: str) -> tuple[float, list[Found]]:
    """Parts 2, 4, 6 … behind `{"tokens": `, exactly 20; and the first figure `Max Act`."""
    parts = page.split('{"tokens": ')[2::2]
    if len(parts) != 20:
        raise RefusedError(f"{len(parts)} texts")
    found = []
    for part in parts:
        tokens, _, rest = part.partition(', "values": ')
        values, _ = json.JSONDecoder().raw_decode(rest)
        found.append(Found(json.loads(tokens), values))
    return float(page.split("<h4>Max Act: <b>")[1].split("</b>")[0]), found


NUMBER = r"(-?\d+(?:\.\d*)?)"
FIGURES = {
    "range": rf"<h4>Max Range: <b>{NUMBER}</b>. Min Range: <b>{NUMBER}</b></h4>",
    "act": rf"<h4>Max Act: <b>{NUMBER}</b>. Min Act: <b>{NUMBER}</b></h4>",
    "row": r"<h4>Data Index: <b>(\d+)</b> \((.*?)\)</h4>",
    "position": r"<h4>Max Activating Token Index: <b>(\d+)</b></h4>",
}
BLOB = re.compile(r"ColoredTokens,\s*(.*\})\s*\)\s*</script>\s*</details>")


def by_sections(page: str, *, layer: int, neuron: int) -> list[tuple[dict[str, Any], Found]]:
    """What stands between `<hr>`: a header, nothing, and a text each; every figure exactly once."""
    header, empty, *sections = page.split("<hr>")
    if f"<h2>Neuron {neuron} in Layer {layer} </h2>" not in header:
        raise RefusedError("another neuron's header")
    if empty.strip():
        raise RefusedError("the second section is not empty")
    found = []
    for section in sections:
        figures = {}
        for name, pattern in FIGURES.items():
            matches = re.findall(pattern, section)
            if len(matches) != 1:
                raise RefusedError(f"{name} is there {len(matches)} times")
            figures[name] = matches[0]
        blobs = BLOB.findall(section)
        if len(blobs) != 1:
            raise RefusedError(f"{len(blobs)} full texts")
        blob = json.loads(blobs[0])
        if list(blob) != ["tokens", "values", "minValue", "maxValue"] or len(blob["tokens"]) != len(blob["values"]):
            raise RefusedError("other keys, or lengths that differ")
        found.append(
            (blob | figures, Found(blob["tokens"], blob["values"], int(figures["position"]), int(figures["row"][0])))
        )
    return found
