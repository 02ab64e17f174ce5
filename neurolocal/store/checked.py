"""Access to a store's HDF5 file that checks every link, shape, type and size before it reads.

Invariant: a dataset that is returned lies inside the file, was reached by hard links alone, and has the size that it
claims; otherwise a StoreError states what is wrong. Cost: the links on the path and the object's header are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Int64

from neurolocal.errors import StoreError, first_line
from neurolocal.files import readable_path
from neurolocal.store.write import FORMAT, VERSION

DEFLATE = 1100
"""Most bytes that one stored byte may expand to: deflate reaches 1,032."""

LARGEST_CHUNK = 64 << 20
"""Most bytes of a chunk, which HDF5 unfolds whole however little of it is asked for. Ours have about 1 MiB, or one row
of the array where that is larger."""

FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
"""Filters that FORMAT.md allows. Others decode in code that is seldom used: HDF5's scale-offset filter overflows."""

OPEN = 1024
"""Datasets that stay open once checked: to open and check one costs more than to read a neuron's part of it. Without a
cache of chunks (`rdcc_nbytes`), which would be 1 MiB each."""


def _what_is_there(path: Path) -> str:
    """Why a path is no file, and what to do."""
    if path.is_dir():
        return "it is a folder, not a file. Give the .h5 file in it"
    if path.exists():
        return "it is a pipe, socket or device, not a file. Copy the store into a file"
    if path.is_symlink():
        return f"it is a link to {path.readlink()}, which is not there. Give the file itself"
    return "no such file. Make it with `neurolocal collect`"


class DamagedError(StoreError):
    """A store that is not as FORMAT.md says."""

    what: str
    """What is wrong, without the path and the advice."""


class CheckedFile:
    """A store's file, open for reading."""

    def __init__(self, path: Path) -> None:
        """Open the file and check its format and version.

        Raises:
            StoreError: no such file, no HDF5, or another format or version.
        """
        self.path = path
        self._groups: dict[str, h5py.Group] = {}
        """The groups in which something was looked up, by path: a walk from the root costs as much as a small read."""
        self._checked: dict[tuple[str, str | None, int | None], h5py.Dataset] = {}
        """The datasets that were checked last, by name and what was required."""
        if not readable_path(path, error=StoreError).is_file():
            raise StoreError(f"opening the store {path}: {_what_is_there(path)}.")
        if not os.access(path, os.R_OK):
            raise StoreError(f"opening the store {path}: no permission to read it. Change the file's permissions.")
        try:
            self.root, self._size = h5py.File(path, "r", rdcc_nbytes=0), path.stat().st_size
        except Exception as error:  # h5py raises a dozen types for a damaged file
            raise StoreError(
                f"opening the store {path}: it is no whole HDF5 file. Copy it again, or collect again."
            ) from error
        try:
            self._check_header()
        except BaseException:
            self.root.close()
            raise

    def array(
        self, name: str, kind: str | None, *, ndim: int | None = None, shape: tuple[int, ...] | None = None
    ) -> Any:
        """A whole dataset, in memory.

        Args:
            name: of the dataset.
            kind: required type as numpy writes it, without byte order; None is any number.
            ndim: required number of dimensions; None is any.
            shape: required shape; None is any.
        """
        found = self.dataset(name, kind, len(shape) if shape is not None else ndim)
        if shape is not None and found.shape != shape:
            raise self.bad(f"{name} has the shape {found.shape}, expected {shape}")
        with self.reading(name):
            return found[()]

    def dataset(self, name: str, kind: str | None, ndim: int | None) -> h5py.Dataset:
        """A dataset, checked but not read."""
        wanted = name, kind, ndim
        if wanted in self._checked:
            return self._checked[wanted]
        found = self._check(name, kind, ndim)
        if len(self._checked) >= OPEN:
            self._checked.clear()
        self._checked[wanted] = found
        return found

    def _check(self, name: str, kind: str | None, ndim: int | None) -> h5py.Dataset:
        """A dataset of that name, whatever it claims, or a StoreError."""
        found = self.get(name)
        if not isinstance(found, h5py.Dataset):
            raise self.bad(f"{name} is no dataset")
        with self.reading(name):
            chunk = int(np.prod(found.chunks, dtype=object)) * found.dtype.itemsize if found.chunks else 0
            outside = bool(found.external or found.is_virtual)
            dtype, dims, size, held = found.dtype, found.ndim, found.size or 0, found.id.get_storage_size()
            stored = found.id.get_create_plist()
            filters = [stored.get_filter(i)[0] for i in range(stored.get_nfilters())]
        if outside:
            raise self.bad(f"{name} lies outside the file")
        numeric = dtype.kind in "iuf" and dtype.byteorder in "<=|"
        if not numeric or (kind is not None and dtype.str[1:] != kind):
            raise self.bad(f"{name} is of type {dtype}, expected {kind or 'little-endian numbers'}")
        if not found.id.get_type().equal(h5py.h5t.py_create(dtype)):  # HDF5 would convert it, bit by bit
            raise self.bad(f"{name} stores its {dtype} in another number of bits or order than {dtype} has")
        if not FILTERS.issuperset(filters):
            raise self.bad(f"{name} is stored by filters {filters}, expected deflate, shuffle and fletcher32 alone")
        if chunk > LARGEST_CHUNK:
            raise self.bad(f"{name} has chunks of {chunk:,} bytes, expected at most {LARGEST_CHUNK:,}")
        if ndim is not None and dims != ndim:
            raise self.bad(f"{name} has {dims} dimensions, expected {ndim}")
        # Without this, an array that claims terabytes and stores none would be allocated and filled with fill values.
        most = min(held, self._size) * (DEFLATE if filters else 1)
        if size * dtype.itemsize > most:
            raise self.bad(f"{name} claims {size * dtype.itemsize:,} bytes and stores {held:,}")
        return found

    def get(self, name: str) -> Any:
        """The object of that name, reached by hard links alone."""
        place = self._walk(name)
        if place is None:
            raise self.bad(f"{name} is missing")
        return place

    def has(self, name: str) -> bool:
        """Whether there is an object of that name."""
        return self._walk(name) is not None

    def _walk(self, name: str) -> Any:
        parts = name.strip("/").split("/")
        above = "/".join(parts[:-1])
        place: Any = self._groups.get(above)
        begin = len(parts) - 1 if place is not None else 0
        place = self.root if place is None else place
        with self.reading(name):
            for i, part in enumerate(parts[begin:], begin):
                if not isinstance(place, h5py.Group):
                    raise self.bad(f"{place.name if hasattr(place, 'name') else name} is no group")
                if i == len(parts) - 1:
                    self._groups[above] = place
                if part not in place:
                    return None
                if not isinstance(place.get(part, getlink=True), h5py.HardLink):
                    raise self.bad(f"{name} is a link")
                place = place[part]
        return place

    def json(self, place: h5py.Group, name: str) -> dict[str, Any]:
        """An attribute that holds a JSON object."""
        with self.reading(f"the attribute {name} of {place.name}"):
            text, wanted = str(place.attrs[name]), place.attrs.get(f"{name}_sha256")
            if wanted is not None and wanted != hashlib.sha256(text.encode()).hexdigest():
                raise self.bad(f"the attribute {name} of {place.name} does not have its SHA-256")
            value = json.loads(text)
        if not isinstance(value, dict):
            raise self.bad(f"the attribute {name} of {place.name} is no JSON object")
        return value

    @contextlib.contextmanager
    def reading(self, what: str) -> Generator[None, None, None]:
        """Turns every error that h5py raises in the block into a StoreError."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            said = first_line(error, 80)
            raise self.bad(f"{what} cannot be read ({type(error).__name__}: {ascii(said)[1:-1]})") from error

    def texts(self, base: str, name: str) -> list[str]:
        """A list of strings; with an `index`, the strings that its entries name."""
        group = self.get(base)
        if not isinstance(group, h5py.Group):
            raise self.bad(f"{base} is no group")
        found = [b.decode("utf-8", "replace") for b in self.blobs(group, name)]
        where = f"{base.rstrip('/')}/{name}/index"
        if not self.has(where):
            return found
        index = self.array(where, "u4", ndim=1)
        if index.size and int(index.max()) >= len(found):
            raise self.bad(f"{where} names a string that {base}/{name} does not have")
        return [found[i] for i in index.tolist()]

    def blobs(self, group: h5py.Group, name: str) -> list[bytes]:
        """A list of byte strings: see "Strings" in FORMAT.md."""
        data, offsets = self.packed(f"{str(group.name).rstrip('/')}/{name}")
        return [data[a:b] for a, b in itertools.pairwise(offsets.tolist())]

    def packed(self, base: str) -> tuple[bytes, Int64[np.ndarray, "_"]]:
        """A list of byte strings as stored: all of them joined, and where each begins (and the last ends)."""
        data = self.array(f"{base}/bytes", "u1", ndim=1).tobytes()
        offsets = self.array(f"{base}/offsets", "i8", ndim=1)
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(data) or (offsets[1:] < offsets[:-1]).any():
            raise self.bad(f"{base}/offsets does not fit {base}/bytes")
        return data, offsets

    def bad(self, what: str) -> StoreError:
        """The error for a damaged store."""
        error = DamagedError(
            f"reading the store {self.path}: {what}. The file is damaged; copy it again or collect again."
        )
        error.what = what
        return error

    def _check_header(self) -> None:
        with self.reading("its header"):
            kind, version = self.root.attrs.get("format"), self.root.attrs.get("version")
        if not isinstance(kind, str) or kind != FORMAT:
            raise StoreError(
                f"opening {self.path}: an HDF5 file, but no neurolocal store (its attribute `format` is "
                f"{ascii(kind)[:40]}). Give a file made by `neurolocal collect`, or copy it again if it was one."
            )
        shown = version if isinstance(version, np.integer) else ascii(version)[:40]
        if shown != VERSION:
            raise StoreError(
                f"opening {self.path}: a store of version {shown}, this program reads version {VERSION}. "
                "Use the neurolocal that wrote it, or collect again."
            )
