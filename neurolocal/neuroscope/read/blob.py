"""The JSON object of a window or a full text inside a page -> its tokens and activations, checked.

Invariant: an object is accepted only if it is whole JSON, holds each of the four keys once, and has as many numbers as
strings. A token may itself hold closing tags, so several possible ends are tried, at most `TRIES`.
Cost: one parse of the object by orjson; O(bytes) for each end that is tried.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any, NamedTuple

import orjson

from neurolocal.neuroscope.form import KEYS

TRIES = 100
"""Possible ends of a script that are tried for one JSON object."""

ROUNDED = 0.5e-4 + 1e-9
"""Largest difference between a figure printed with four decimals and the value, which has six decimals."""

BLOB = re.compile(r"ColoredTokens,\s*(?=\{)")
"""The text before a JSON object."""

_ENDS = {end: re.compile(rf"\)\s*(?:;\s*)?</script>\s*</{end}>") for end in ("summary", "details")}
_NAMES = {"summary": "window", "details": "full text"}
_QUOTED = tuple(f'"{key}"' for key in KEYS)


class PageError(Exception):
    """A page or a text that cannot be read and is left out; the message gives the reason."""


class Blob(NamedTuple):
    """A window or a full text."""

    tokens: list[str]
    values: list[float | int]
    """Activations, as many as `tokens`."""


def read_blob(section: str, start: int, end: str, reach: float) -> tuple[Blob, int]:
    """The first object from `start` on, and where its closing tags end.

    Args:
        section: of the page.
        start: where to begin in it.
        end: the tag that closes after the object: `summary` for a window, `details` for a full text.
        reach: the range that the section prints; the object must have the same.

    Raises:
        PageError: the object is missing or not as it should be.
    """
    name = _NAMES[end]
    found = BLOB.search(section, start)
    if found is None:
        raise PageError(f"its {name} is missing")
    blob, stop = _object(section, found.end(), end)
    if not isinstance(blob, dict) or tuple(blob) != KEYS:
        raise PageError(f"its {name} does not hold tokens, values, minValue and maxValue")
    tokens, values = blob["tokens"], blob["values"]
    if type(tokens) is not list or type(values) is not list or len(tokens) != len(values) or not tokens:
        raise PageError(f"its {name} has not as many values as tokens")
    try:
        "".join(tokens)
    except TypeError as error:
        raise PageError(f"its {name} holds a token that is no string") from error
    if not set(map(type, values)) <= {float, int}:
        raise PageError(f"its {name} holds an activation that is no number")
    if not all(type(blob[key]) in (int, float) for key in ("minValue", "maxValue")):
        raise PageError(f"its {name} has a range that is no number")
    if abs(blob["maxValue"] - reach) > ROUNDED or blob["minValue"] != -blob["maxValue"]:
        raise PageError(f"its {name} is coloured from {blob['minValue']:g} to {blob['maxValue']:g}, not to {reach:g}")
    return Blob(tokens, values), stop


def _object(section: str, start: int, end: str) -> tuple[Any, int]:
    """The JSON object that begins at `start` and ends before `)` and the closing tags, and where these end.

    A token may hold such tags too. Then the text before them is not whole JSON, and the next ones are tried.
    """
    name, error = _NAMES[end], f"it does not end with ), </script> and </{end}>"
    for closed in islice(_ENDS[end].finditer(section, start), TRIES):
        body = section[start : closed.start()]
        try:
            blob = orjson.loads(body)
        except orjson.JSONDecodeError as wrong:
            error = str(wrong)
            continue
        if _count_keys(body) != len(KEYS):
            raise PageError(f"its {name} has a key twice")
        return blob, closed.end()
    raise PageError(f"its {name} is no whole JSON ({error[:60]})")


def _count_keys(body: str) -> int:
    """How often one of the keys occurs in a JSON object; inside a string its quotation marks would be escaped."""
    n, at = 0, body.find(":")
    while at >= 0:
        before = body[max(at - 40, 0) : at].rstrip()
        n += not before or before.endswith(_QUOTED)
        at = body.find(":", at + 1)
    return n
