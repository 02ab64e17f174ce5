"""The header of a GGUF file: its keys and values, and what it says of the tensors.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Invariant: no length is believed before it was
compared with the end of the file; the `gguf` package's reader would loop for ever on an array of 2^60 numbers.
Cost: one Python step for each key and for each text of an array; values that nobody wants are skipped, not kept.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MAGIC = b"GGUF"

NUMBERS = {0: "u1", 1: "i1", 2: "u2", 3: "i2", 4: "u4", 5: "i4", 6: "f4", 7: "u1", 10: "u8", 11: "i8", 12: "f8"}
"""The types of numbers, as numpy writes them; 7 is a truth value."""

TRUTH, STRING, ARRAY = 7, 8, 9

MOST = 1 << 24
"""Largest number of keys, and of texts in an array; the largest vocabularies have some 300,000 tokens."""


class Header(NamedTuple):
    """What precedes the tensors."""

    values: dict[str, Any]
    """The values that were wanted, by key: numbers, texts, numpy arrays, lists of texts."""
    places: dict[str, int]
    """Where in the file the text of each wanted key begins."""
    order: str
    """The byte order, as `struct` writes it."""
    tensors: int
    """How many there are."""
    end: int
    """Bytes from the beginning of the file to the end of the last value, where the tensors are described."""


class TensorInfo(NamedTuple):
    """What the header says of one tensor."""

    raw: bytes
    """All of it: name, shape, type, and in the last 8 bytes the offset."""
    elements: int
    """How many numbers it has."""
    kind: int
    """Its type, as ggml numbers them."""
    offset: int
    """Bytes from the beginning of the data to it."""


def is_gguf(path: Path) -> bool:
    """Whether the file begins with the GGUF magic."""
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def read_header(path: Path, wanted: tuple[str, ...] = ()) -> Header:
    """Read the keys that begin with one of `wanted`, and skip the others.

    Raises:
        ValueError, struct.error, IndexError, KeyError: the file is cut short or damaged.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != MAGIC:
            raise ValueError("it does not begin with the letters GGUF")
        order = ">" if data[4:6] == b"\0\0" else "<"  # the version is a small number: its zeros tell the byte order
        reader = _Reader(data, order)
        (tensors,), (pairs,) = reader.long(data, 8), reader.long(data, 16)
        if pairs > MOST:
            raise ValueError(f"{pairs:,} keys")
        place, found, places = 24, dict[str, Any](), dict[str, int]()
        for _ in range(pairs):
            begin = place + 8
            key, place = reader.text(place)
            (kind,) = reader.short(data, place)
            keep = key.startswith(wanted)
            value, place = reader.value(place + 4, kind, keep=keep)
            if keep:
                found[key], places[key] = value, begin
        return Header(found, places, order, tensors, place)


def read_tensors(path: Path, header: Header) -> tuple[list[TensorInfo], int]:
    """What a file says of its tensors, and where their data begins.

    Raises:
        ValueError, struct.error, IndexError: the file is cut short or damaged.
    """
    place, found, order = header.end, list[TensorInfo](), header.order
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for _ in range(header.tensors):
            (length,) = struct.unpack_from(order + "Q", data, place)
            (axes,) = struct.unpack_from(order + "I", data, place + 8 + length)
            *shape, kind, offset = struct.unpack_from(f"{order}{axes}QIQ", data, place + 12 + length)
            end = place + 12 + length + 8 * axes + 12
            found.append(TensorInfo(data[place:end], math.prod(shape), kind, offset))
            place = end
    return found, place + -place % alignment_of(path)


def alignment_of(path: Path) -> int:
    """Bytes of which the place of every tensor is a multiple.

    Raises:
        ValueError, struct.error, IndexError, KeyError: the file is cut short or damaged.
    """
    alignment = int(read_header(path, ("general.alignment",)).values.get("general.alignment", 32))
    if not 0 < alignment <= 1 << 20:
        raise ValueError(f"an alignment of {alignment}")
    return alignment


class _Reader:
    """Values of a file, each with the place behind it."""

    def __init__(self, data: mmap.mmap, order: str) -> None:
        self.data, self.order = data, order
        self.long: Callable[[mmap.mmap, int], tuple[int]] = struct.Struct(order + "Q").unpack_from
        self.short: Callable[[mmap.mmap, int], tuple[int]] = struct.Struct(order + "I").unpack_from

    def value(self, place: int, kind: int, *, keep: bool) -> tuple[Any, int]:
        if kind == STRING:
            return self.text(place)
        if kind == ARRAY:
            (inner,), (n,) = self.short(self.data, place), self.long(self.data, place + 4)
            if inner == STRING:
                return self.texts(place + 12, n, keep=keep)
            return self.numbers(place + 12, inner, n)
        (one,), end = self.numbers(place, kind, 1)
        return (bool(one) if kind == TRUTH else one.item()), end

    def numbers(self, place: int, kind: int, n: int) -> tuple[np.ndarray, int]:
        one = np.dtype(self.order + NUMBERS[kind])
        end = self._end(place, n * one.itemsize)
        return np.frombuffer(self.data[place:end], one), end

    def text(self, place: int) -> tuple[str, int]:
        begin = place + 8
        end = self._end(begin, self.long(self.data, place)[0])
        return self.data[begin:end].decode("utf-8"), end

    def texts(self, place: int, n: int, *, keep: bool) -> tuple[list[str], int]:
        self._end(place, 8 * n)
        if n > MOST:
            raise ValueError(f"an array of {n:,} texts")
        data, size, long, found = self.data, len(self.data), self.long, list[str]()
        for _ in range(n):
            begin = place + 8
            place = begin + long(data, place)[0]
            if place > size:
                raise ValueError("a text beyond the end of the file")
            if keep:
                found.append(data[begin:place].decode("utf-8"))
        return found, place

    def _end(self, place: int, n: int) -> int:
        if n > len(self.data) - place:
            raise ValueError("a length beyond the end of the file")
        return place + n
