"""Arrays and strings -> datasets of an HDF5 file, each with a checksum for each chunk.

Invariant: equal values give equal datasets; what is written in parts is what is written at once. No time stamps.
Cost: one copy of what is not little-endian; an array in parts holds one part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

CHUNK = 1 << 20
"""Approximate bytes of a chunk: the least that is read for one neuron, and what one checksum covers."""


@dataclass(frozen=True)
class Blocks:
    """An array that may be larger than memory: it is written in parts, each made when it is needed."""

    shape: tuple[int, ...]
    dtype: str
    """As numpy writes it, little-endian: `<f4`."""
    parts: Iterable[np.ndarray]
    """Consecutive parts along the first dimension, together `shape[0]` long."""


def put_columns(file: h5py.Group, base: str, columns: Mapping[str, Any]) -> None:
    """Arrays, whole numbers and lists of strings, each by its name."""
    for name, value in columns.items():
        if isinstance(value, list):
            put_blobs(file, f"{base}/{name}", [text.encode("utf-8", "surrogatepass") for text in value])
        else:
            put(file, f"{base}/{name}", np.int64(value) if isinstance(value, int) else value)


def put(group: h5py.Group, name: str, value: Any) -> None:
    """A dataset with a checksum for each chunk of about 1 MiB; a scalar is in the object's header, which has one.

    Many equal entries are deflated: of a list of maxima, windows and histograms are empty, 100 times its size.
    """
    value = np.asarray(value)
    if value.ndim:
        put_blocks(group, name, Blocks(value.shape, value.dtype.str, [value]))
    else:
        little = value.astype(value.dtype.newbyteorder("<"), copy=False)
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.COMPACT)
        properties.set_obj_track_times(False)
        parent, _, last = name.rpartition("/")
        place = group.require_group(parent) if parent else group
        kind = h5py.h5t.py_create(little.dtype, logical=True)
        made = h5py.h5d.create(place.id, last.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR), properties)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, little)


def _is_constant(value: Any) -> bool:
    """Whether an array of 4 KiB or more holds one value, bit for bit."""
    if value.nbytes < 4096 or value.dtype.itemsize > 8:
        return False
    bits = np.ascontiguousarray(value).reshape(-1).view(f"u{value.dtype.itemsize}")
    return bool((bits[:64] == bits[0]).all() and (bits == bits[0]).all())


class PartWriter:
    """A dataset of a known shape whose entries come in consecutive parts."""

    def __init__(self, group: h5py.Group, name: str, shape: tuple[int, ...], dtype: str) -> None:
        """An empty one; it is made with its first part."""
        self._group, self._name, self._shape, self._dtype = group, name, shape, np.dtype(dtype).newbyteorder("<")
        self._made: h5py.Dataset | None = None
        self._at = 0

    def write(self, part: np.ndarray) -> None:
        """The next entries."""
        part = part.astype(self._dtype, copy=False)
        if not part.size:
            return
        if self._made is None:
            self._made = self._create(_is_constant(part))
        self._made[self._at : self._at + len(part)] = part
        self._at += len(part)

    def finish(self) -> None:
        """Make it where it is empty; otherwise the parts must have filled it."""
        if self._made is None:
            assert not math.prod(self._shape), (self._name, self._shape)
            self._group.create_dataset(self._name, self._shape, dtype=self._dtype, track_times=False)
        else:
            assert self._at == self._shape[0], (self._name, self._at, self._shape)

    def _create(self, constant: bool) -> h5py.Dataset:
        n = math.prod(self._shape) * self._dtype.itemsize
        rows = max(1, min(self._shape[0], CHUNK * self._shape[0] // n))
        how = {"compression": "gzip", "compression_opts": 1} if constant else {}
        return self._group.create_dataset(
            self._name, self._shape, dtype=self._dtype, track_times=False,
            chunks=(rows, *self._shape[1:]), fletcher32=True, fillvalue=0, **how,
        )  # fmt: skip


def put_blocks(group: h5py.Group, name: str, value: Blocks) -> None:
    """The same as `put` for an array that is given in parts; it is deflated if the first part has equal entries."""
    writer = PartWriter(group, name, value.shape, value.dtype)
    for part in value.parts:
        writer.write(part)
    writer.finish()


def put_blobs(group: h5py.Group, name: str, blobs: list[bytes]) -> None:
    """Byte strings of any content: all of them joined, and where each begins."""
    put(group, f"{name}/bytes", np.frombuffer(b"".join(blobs), dtype="u1"))
    put(group, f"{name}/offsets", np.cumsum([0, *map(len, blobs)], dtype="<i8"))


def put_column(group: h5py.Group, name: str, blobs: list[bytes]) -> None:
    """A table's column of strings: where most are repeated, the distinct ones and an index into them."""
    places = {blob: i for i, blob in enumerate(dict.fromkeys(blobs))}
    repeated = 2 * len(places) <= len(blobs)
    put_blobs(group, name, list(places) if repeated else blobs)
    if repeated:
        put(group, f"{name}/index", np.array([places[blob] for blob in blobs], dtype="<u4"))
