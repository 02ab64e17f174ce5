"""A JSON list of maxima, `[layer][neuron]` floats: the largest activation that each neuron's page shows.

Such lists are shared instead of the pages that they were scraped from.
Invariant: every number returned is finite; anything else in the file is a StoreError that gives its place.
Cost: some 40 bytes of memory a number while the file is read.
"""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from neurolocal.errors import StoreError

LARGEST_FILE = 1 << 28
"""Bytes that are read at most: thirty million neurons."""

HDF5 = b"\x89HDF\r\n\x1a\n"
"""First bytes of a store."""


class ListedMaxima(NamedTuple):
    """One layer of a list of maxima."""

    activation: Float64[np.ndarray, "neuron"]
    """The file's values, neuron 0 first."""
    trusted: Bool[np.ndarray, "neuron"]
    """False where the value equals its left neighbour's: the known collector repeats the last value when it fails on a
    page. Of two adjacent dead neurons, both 0, the second is marked as well: the two cases cannot be distinguished."""


def is_list(path: Path) -> bool:
    """Whether a file is a list of maxima: it is no HDF5 file, and its name ends in `.json` or it begins with `[`."""
    if not path.is_file():
        return path.suffix.lower() == ".json"
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise _unreadable(path, error) from error
    return not head.startswith(HDF5) and (path.suffix.lower() == ".json" or head.lstrip()[:1] == b"[")


def read_maxima(path: Path) -> list[ListedMaxima]:
    """Read a list of maxima, one entry a layer; layers may differ in width.

    Raises:
        StoreError: no such file, no JSON, no list of lists, an empty one, or an entry that is no finite number.
    """
    layers = _parse(path)
    if not isinstance(layers, list) or not layers:
        raise _strange(path, f"it holds {_kind(layers)}")
    return [_layer(path, number, layer) for number, layer in enumerate(layers)]


def trusted(values: Float64[np.ndarray, "neuron"]) -> Bool[np.ndarray, "neuron"]:
    """False where a value repeats its left neighbour's; see `ListedMaxima`."""
    own = np.ones(len(values), bool)
    own[1:] = values[1:] != values[:-1]
    return own


def _parse(path: Path) -> Any:
    if not path.is_file():
        raise StoreError(f"reading the list of maxima {path}: there is no such file. Check the path.")
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise StoreError(
                f"reading the list of maxima {path}: it has {size:,} bytes, at most {LARGEST_FILE:,} are read. "
                "Keep one number a neuron, rounded to 4 decimals."
            )
        return json.loads(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from error
    except RecursionError as error:
        raise _strange(path, "it holds lists within lists without end") from error
    except ValueError as error:  # JSON, UTF-8 and overlong numbers
        reason = ascii(str(error))[1:-1][:100]
        raise StoreError(
            f"reading the list of maxima {path}: it is no JSON ({reason}). Copy it again, or give a store."
        ) from error


def _layer(path: Path, number: int, layer: Any) -> ListedMaxima:
    if not isinstance(layer, list) or not layer:
        raise _strange(path, f"layer {number} is {_kind(layer)}")
    for neuron, value in enumerate(layer):
        if type(value) not in (int, float) or not _finite(value):
            raise _strange(path, f"layer {number}, neuron {neuron} is {_kind(value)}")
    values = np.array(layer, np.float64)
    return ListedMaxima(values, trusted(values))


def _finite(value: int | float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an integer beyond float64
        return False


def _kind(value: Any) -> str:
    """A short description of an unexpected value, in JSON's terms."""
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str):
        return f"the string {value[:20]!a}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return "a number" if _finite(value) else "NaN, infinite, or too large for a float"


def _strange(path: Path, what: str) -> StoreError:
    return StoreError(
        f"reading the list of maxima {path}: {what}, expected a JSON list of layers, each a list of finite numbers, "
        "one a neuron. Correct that entry, or make the list again."
    )


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"reading the list of maxima {path}: {error.strerror or error}. Give a file that can be read.")
