"""Damage to an HDF5 file that keeps it an HDF5 file: types, shapes, links, attributes, what lies elsewhere, values.

Invariant: the file is changed in memory. Cost: opening it, one or a few changes.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from typing import Any

import h5py
import numpy as np

from fuzzing.mutate import NUMBERS, flat, value, within

TYPES = ["u1", "i1", "<u2", "<u4", "<i4", "<i8", "<u8", "<f2", "<f4", "<f8", ">f4", ">i8", "S3", "?", "c8"]
"""Types of numbers and fixed strings."""

VALUES = [*(n for n in NUMBERS if n < 2**63), -1, -2, -(2**63), np.nan, np.inf, -np.inf, 0.5, 1e300]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Bytes, or one to three changes of the structure, or both."""
    if rng.random() < 0.25:
        return flat(data, rng)
    held = io.BytesIO(data)
    try:
        with h5py.File(held, "r+") as file:
            for _ in range(rng.choice([1, 1, 1, 2, 3])):
                change(file, rng)
    except Exception:  # what is damaged already cannot be changed so
        return flat(data, rng)
    changed = held.getvalue()
    return flat(changed, rng) if rng.random() < 0.1 else changed


def change(file: h5py.File, rng: random.Random) -> None:
    """One change."""
    names: list[str] = []
    file.visit(names.append)
    name = rng.choice(names)
    kind = rng.random()
    if kind < 0.3:
        _values(file, name, rng)
    elif kind < 0.45:
        _attribute(file, rng)
    elif kind < 0.6:
        _replaced(file, name, rng)
    elif kind < 0.7:
        _linked(file, name, rng)
    elif kind < 0.78:
        del file[name]
    elif kind < 0.86:
        other = rng.choice(names)  # two places change, or one object has two names
        if other != name and not other.startswith(f"{name}/") and not name.startswith(f"{other}/"):
            del file[other]
            file[other] = file[name]
    elif kind < 0.93:
        _resized(file, name, rng)
    else:
        there = file[name]
        place = there if isinstance(there, h5py.Group) else file
        place[rng.choice(["99", "-1", "01", "x", "index", "index/bytes", "é", "largest", "1000000000"])] = np.zeros(
            3, "<i8"
        )


def _values(file: h5py.File, name: str, rng: random.Random) -> None:
    """Some values of a dataset."""
    found = file[name]
    if not isinstance(found, h5py.Dataset) or not found.size or found.dtype.kind not in "iuf":
        return
    array = found[()].reshape(-1)
    with np.errstate(all="ignore"):
        for _ in range(rng.choice([1, 1, 3, array.size])):
            at, new = rng.randrange(array.size), rng.choice(VALUES)
            if array.dtype.kind == "f":
                array[at] = new
            elif new == new and abs(new) != np.inf:
                bounds = np.iinfo(array.dtype)
                array[at] = min(max(int(new), bounds.min), bounds.max)
    found[...] = array.reshape(found.shape)


def _attribute(file: h5py.File, rng: random.Random) -> None:
    """The manifest, its hash, or another attribute of any object."""
    places: list[Any] = [file]
    file.visititems(lambda _, one: places.append(one) if len(one.attrs) else None)
    place = rng.choice(places)
    name = rng.choice([*place.attrs, "manifest"])
    if rng.random() < 0.7 and isinstance(place.attrs.get(name), str) and place.attrs[name][:1] in ("{", "["):
        try:
            said = json.dumps(within(json.loads(place.attrs[name]), rng))
        except (ValueError, RecursionError):
            said = "[" * 5000
        place.attrs[name] = said
        if f"{name}_sha256" in place.attrs:
            place.attrs[f"{name}_sha256"] = hashlib.sha256(said.encode()).hexdigest()
        return
    new = rng.choice(
        [1, -1, 2**40, "", "x" * 999, b"\xff", 1.5, np.zeros(3), np.zeros((2, 2), "i1"), json.dumps(value(rng))]
    )
    if rng.random() < 0.3:
        del place.attrs[name]
    else:
        place.attrs[name] = h5py.Empty("f") if rng.random() < 0.1 else new


def _replaced(file: h5py.File, name: str, rng: random.Random) -> None:
    """Another dataset of that name: other types, other shapes, huge, elsewhere, of objects or texts."""
    old = file[name]
    shape: Any = old.shape if isinstance(old, h5py.Dataset) else (2,)
    first = max(1, shape[0] if shape else 1)
    del file[name]
    kind = rng.randrange(10)
    if kind == 0:
        file.create_group(name)
    elif kind == 1:
        file.create_dataset(name, shape=shape, dtype=rng.choice(TYPES))
    elif kind == 2:
        file[name] = np.zeros(
            rng.choice([(), (0,), (1,), (first + 1,), (first, 1), (first, 0), (1, 1, 1, 1)]),
            old.dtype if isinstance(old, h5py.Dataset) else "i8",
        )
    elif kind == 3:  # chunks that are not stored
        n = rng.choice([10**6, 2**33, 2**40])
        file.create_dataset(
            name,
            shape=(n, *shape[1:]),
            dtype=getattr(old, "dtype", "f4"),
            chunks=(1024, *shape[1:]),
            compression="gzip",
        )
    elif kind == 4:
        where = rng.choice(["/etc/hostname", "/dev/zero", "../../x", "outside.raw"])
        file.create_dataset(name, shape=(8,), dtype="u1", external=[(where, 0, 8)])
    elif kind == 5:
        layout = h5py.VirtualLayout(shape=(4,), dtype="<i8")
        layout[:] = h5py.VirtualSource(
            rng.choice([".", "/etc/hostname", "other.h5"]), rng.choice([name, "x"]), shape=(4,)
        )
        file.create_virtual_dataset(name, layout)
    elif kind == 6:
        file.create_dataset(name, data=["a", "é"], dtype=h5py.string_dtype())
    elif kind == 7:
        file.create_dataset(name, data=np.zeros(3, [("a", "<i8"), ("b", "<f4", (2,))]))
    elif kind == 8:
        file.create_dataset(
            name, shape=(3,), dtype=rng.choice([h5py.ref_dtype, h5py.vlen_dtype(np.int32), h5py.enum_dtype({"A": 1})])
        )
    else:  # a bomb: much in little
        file.create_dataset(
            name, data=np.zeros(4 << 20, "u1"), chunks=(4 << 20,), compression="gzip", compression_opts=1
        )


def _linked(file: h5py.File, name: str, rng: random.Random) -> None:
    """A link in place of an object: soft, to another file, to what contains it."""
    kind = rng.randrange(4)
    above = file[name].parent
    del file[name]
    if kind == 0:
        file[name] = h5py.SoftLink(rng.choice([f"/{name}", "/nowhere", "/rows/tokens", ".."]))
    elif kind == 1:
        file[name] = h5py.ExternalLink(rng.choice(["/etc/hostname", "s.h5", "/dev/zero"]), "/rows")
    elif kind == 2:
        file[name] = above
    else:
        file[name] = file["/"]


def _resized(file: h5py.File, name: str, rng: random.Random) -> None:
    """The same dataset, shorter, longer, of another type, or turned."""
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.ndim == 0:
        return
    array = found[()]
    how = rng.randrange(5)
    if how == 0:
        array = array[: len(array) // 2]
    elif how == 1:
        array = np.concatenate([array, array[-1:]])
    elif how == 2:
        with np.errstate(all="ignore"):
            array = array.astype(rng.choice(["<i4", "<i8", "<f4", "u1", "<u4"]))
    elif how == 3:
        array = np.moveaxis(array, -1, 0)
    else:
        array = array[..., None] if rng.random() < 0.5 else array.reshape(-1)
    del file[name]
    file[name] = array
