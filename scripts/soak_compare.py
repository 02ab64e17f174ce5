"""Everything in a folder as hashes, so that two folders can be compared: stores by their arrays and manifests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from soak_process import NOT_COUNTED

LOCKS = {".lock", ".holder"}
"""Endings of what may differ: the file of a lock stays, and a kill leaves the name of its holder beside it."""


def contents(folder: Path) -> dict[str, str]:
    """Every file, and every array and attribute of every store -> its hash. Locks are left out."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name.split("/")[0] in NOT_COUNTED or path.suffix in LOCKS:
            continue
        if path.suffix == ".h5":
            found |= {f"{name}:{entry}": value for entry, value in _store(path)}
        else:
            found[name] = _hash(path.read_bytes())
    return found


def differing(here: dict[str, str], there: dict[str, str]) -> list[str]:
    """The entries that differ or that one has alone, with which."""
    return [
        f"{name} {'is missing' if name not in here else 'is left over' if name not in there else 'differs'}"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]


def _store(path: Path) -> Iterator[tuple[str, str]]:
    """Every array with its type and shape, and every attribute."""
    with h5py.File(path) as file:
        places: list[tuple[str, h5py.Group | h5py.Dataset]] = [("/", file)]
        file.visititems(lambda name, place: places.append((name, place)))
        for name, place in places:
            for key, value in place.attrs.items():
                yield f"{name}@{key}", _hash(json.dumps(str(value)).encode())
            if isinstance(place, h5py.Dataset):
                value = np.asarray(place[()])
                yield name, _hash(f"{value.dtype.str}{value.shape}".encode() + value.tobytes())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
