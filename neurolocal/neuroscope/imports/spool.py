"""Temporary files beside the store that is being written: what an import holds on disk instead of in memory.

Invariant: the files have no name, so they vanish with the process. Disk space for a table is reserved at once, so a
full disk is an error and not a killed process. Cost: the bytes of the arrays, on disk.
"""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neurolocal.errors import StoreError


@contextmanager
def store_folder(out: Path) -> Generator[Path, None, None]:
    """The folder of the store `out`, made if needed; temporary files go there.

    Raises:
        StoreError: the folder cannot be written, or the disk is full, now or within the block.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield out.parent
    except OSError as error:
        todo = "make room beside it or give" if error.errno == errno.ENOSPC else "give"
        raise StoreError(
            f"writing {out}: {error.strerror or error}. What was there is untouched; {todo} another place, and run the "
            "same command again."
        ) from error


class Spool:
    """Arrays of one dtype, one after the other, in a file without a name."""

    def __init__(self, folder: Path, dtype: str) -> None:
        """An empty spool in a folder."""
        self.dtype, self.length, self._at_end = np.dtype(dtype), 0, True
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".neurolocal-")  # noqa: SIM115  closed by `close`

    def add(self, array: np.ndarray) -> int:
        """Append an array; returns where it begins."""
        start = self.length
        if not self._at_end:  # a seek would flush the buffer
            self._file.seek(0, 2)
        self._at_end = True
        self._file.write(np.ascontiguousarray(array, self.dtype).data)
        self.length += len(array)
        return start

    def read(self, start: int, length: int) -> np.ndarray:
        """A copy of `length` values from `start` on."""
        self._file.seek(start * self.dtype.itemsize)
        self._at_end = False
        return np.frombuffer(self._file.read(length * self.dtype.itemsize), self.dtype)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


def disk_table(folder: Path, dtype: str, shape: tuple[int, ...]) -> Any:
    """An array of zeros in a file without a name."""
    if not all(shape):
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(dir=folder, prefix=".neurolocal-") as file:
        # Space is reserved at once: on a full disk, a write into a mapped file would kill the process.
        os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(dtype).itemsize)
        return np.memmap(file, np.dtype(dtype), "w+", shape=shape)
