"""Reading a GGUF through transformers and the `gguf` package, in seconds: what they look up again is kept.

Invariant: the same numbers, bit for bit. Only how long three functions of the `gguf` package take is changed, while
`quick_reading` is open. Its reader makes numpy arrays of every token and merge, twice; its table of tensor names is
made anew for every module; tensors are dequantised 16 rows at a time on one core.
Cost: what is dequantised is held once, in float32, tensor by tensor.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

LONG = 1024
"""Numbers in an array that is passed over; a model's own settings have one a layer."""

PART = 1 << 20
"""Numbers that one thread dequantises at a time."""

ROWS = 16
"""Rows that the package takes at a time."""


@contextmanager
def quick_reading() -> Generator[None, None, None]:
    """Let transformers read GGUFs fast inside the block; one thread of a process at a time."""
    import gguf

    plain, names = gguf.dequantize, functools.cache(gguf.get_tensor_name_map)
    with (
        ThreadPoolExecutor(torch.get_num_threads()) as pool,
        patch.object(gguf, "dequantize", lambda data, kind: in_parts(plain, data, kind, pool)),
        patch.object(gguf, "get_tensor_name_map", names),
        patch.object(gguf, "GGUFReader", _reader()),
    ):
        yield


def in_parts(plain: Any, data: np.ndarray, kind: Any, pool: ThreadPoolExecutor) -> np.ndarray:
    """What `plain(data, kind)` gives: quantised blocks are independent, so that any number of them makes a row."""
    from gguf import GGML_QUANT_SIZES
    from gguf.quants import quant_shape_from_byte_shape

    numbers, size = GGML_QUANT_SIZES[kind]
    if numbers == 1:  # not quantised
        return plain(data, kind)
    shape = quant_shape_from_byte_shape(data.shape, kind)
    flat, found = np.asarray(data).reshape(-1), np.empty(shape, np.float32)
    to = found.reshape(-1)
    row = max(1, PART // ROWS // numbers)  # blocks in a row
    whole = len(flat) // (row * size)

    def fill(start: int, stop: int, blocks: int) -> None:
        some = flat[start * size : stop * size].reshape(-1, blocks * size)
        with np.errstate(all="ignore"):  # NaN in damaged weights is found when they are used
            to[start * numbers : stop * numbers] = plain(some, kind).reshape(-1)

    jobs = [pool.submit(fill, i * row, min(i + ROWS, whole) * row, row) for i in range(0, whole, ROWS)]
    if len(flat) > whole * row * size:
        rest = len(flat) // size - whole * row
        jobs.append(pool.submit(fill, whole * row, whole * row + rest, rest))
    for job in jobs:
        job.result()
    return found


@functools.cache
def _reader() -> Any:
    """The package's reader, which passes over the texts and long arrays: as many zeros stand for them."""
    import gguf

    kinds = gguf.GGUFValueType

    class Reader(gguf.GGUFReader):
        def _get_field_parts(self, orig_offs: Any, raw_type: Any) -> Any:
            if raw_type != kinds.ARRAY:
                return super()._get_field_parts(orig_offs, raw_type)
            (inner,), (n,) = self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)
            begin, n = int(orig_offs) + 12, int(n)
            if inner == kinds.STRING:
                end = self._end_of_texts(begin, n)
            elif inner != kinds.ARRAY and n > LONG:
                end = begin + n * np.dtype(self.gguf_scalar_to_np[kinds(inner)]).itemsize
            else:
                return super()._get_field_parts(orig_offs, raw_type)
            return end - orig_offs, [np.zeros(1, np.uint8)], [0] * n, [kinds.ARRAY, kinds.UINT8]

        def _end_of_texts(self, place: Any, n: int) -> int:
            swapped = self.byte_order == "S"
            long = struct.Struct((">" if swapped else "<") + "Q").unpack_from
            data: Any = self.data
            data = memoryview(data)
            for _ in range(n):
                place += 8 + long(data, place)[0]
            return place

    return Reader
