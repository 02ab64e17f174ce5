"""How fast a store is written to a disk and read again, measured with datasets like a store's own.

Invariant: nothing is left on the disk. Cost: `SIZE` bytes on the disk, written once and read once.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from neurolocal.store.datasets import CHUNK

SIZE = 1 << 27
"""Bytes that are written."""


def disk_rates(folder: Path) -> tuple[float, float]:
    """Bytes/s in chunks with checksums: written and flushed, and read.

    Args:
        folder: on the disk that counts.
    """
    values = np.random.default_rng(0).standard_normal((SIZE // 4 // 1024, 1024), np.float32)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".h5") as place:
        began = time.perf_counter()
        with h5py.File(place.name, "w") as file:
            chunks = (CHUNK // 4096, 1024)
            file.create_dataset("x", data=values, chunks=chunks, fletcher32=True, track_times=False)
        descriptor = os.open(place.name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        wrote = time.perf_counter() - began
        began = time.perf_counter()
        with h5py.File(place.name, "r") as file:
            file["x"][:]  # type: ignore[index]
        read = time.perf_counter() - began
    return SIZE / wrote, SIZE / read
