"""A saved page in arrays: compact enough to be passed between processes and kept.

Invariant: strings are numbered in the order in which a process first meets them, so the numbers of a `PackedPage` are
valid within its reader. Cost: 8 bytes a token, and each distinct string once a process.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt32

from neurolocal.neuroscope.read.blob import PageError
from neurolocal.neuroscope.read.saved_page import Problem, SavedPage, read_page
from neurolocal.neuroscope.read.saved_text import SavedText

LARGEST = 1 << 30
"""Bytes of a file above which it is not read as a page."""

_PLACE = re.compile(r"[0-9]{1,9}")


class TextColumns(NamedTuple):
    """What a page states about each of its texts, one entry a text."""

    number: Int64[np.ndarray, "text"]
    """Of the text on the page, from 0."""
    data_index: Int64[np.ndarray, "text"]
    """Row number in the page's data set."""
    position: Int64[np.ndarray, "text"]
    """Of the peak in its row."""
    first: Int64[np.ndarray, "text"]
    """Position of the first token."""
    length: Int64[np.ndarray, "text"]
    """Tokens."""
    whole: Bool[np.ndarray, "text"]
    """Whether the tokens are the whole row."""
    largest: Float64[np.ndarray, "text"]
    """Largest activation of the row, as printed."""
    smallest: Float64[np.ndarray, "text"]
    """Smallest activation of the row, as printed."""

    def take(self, texts: list[int]) -> TextColumns:
        """The same of some texts."""
        return TextColumns(*(column[texts] for column in self))


class PackedPage(NamedTuple):
    """A page: each distinct string once, and everything else in arrays."""

    file: str
    """Name of the file, relative to the folder that was given."""
    sha256: str
    """Of the file."""
    page: SavedPage | None
    """Without its texts; None where nothing could be read."""
    problems: list[Problem]
    reader: int
    """The process that read it: strings have numbers within that process."""
    new: list[str]
    """Strings that the process had not met before: its next numbers, in this order."""
    datasets: list[str]
    """The data set of each text."""
    texts: TextColumns
    codes: UInt32[np.ndarray, "token"]
    """The number of each token's string, text after text."""
    values: Float32[np.ndarray, "token"]
    """The activation of each token."""


class StringNumbers(dict[str, int]):
    """Strings -> numbers from 0, in the order in which they are first looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.strings: list[str] = []

    def __missing__(self, string: str) -> int:
        """Give a new string the next number."""
        self[string] = number = len(self.strings)
        self.strings.append(string)
        return number


def read_packed(path: Path, name: str, numbers: StringNumbers) -> PackedPage:
    """Read and pack one page; new strings get the next numbers. A file that cannot be read has only its problem."""
    try:
        if path.stat().st_size > LARGEST:
            raise PageError(f"it has {path.stat().st_size:,} bytes, more than any page")
        data = path.read_bytes()
    except OSError as error:
        return pack(name, "", None, [Problem(None, f"it cannot be read ({error.strerror})")], [], numbers)
    except PageError as error:
        return pack(name, "", None, [Problem(None, str(error))], [], numbers)
    digest = hashlib.sha256(data).hexdigest()
    try:
        page = read_page(data, place=_place(path))
    except PageError as error:
        return pack(name, digest, None, [Problem(None, str(error))], [], numbers)
    return pack(name, digest, page, page.problems, page.texts, numbers)


def pack(
    name: str, digest: str, page: SavedPage | None, problems: list[Problem], texts: list[SavedText],
    numbers: StringNumbers,
) -> PackedPage:  # fmt: skip
    """Put the content of a page into arrays."""
    before = len(numbers)
    codes = [np.fromiter(map(numbers.__getitem__, t.tokens), np.uint32, len(t.tokens)) for t in texts]
    columns = TextColumns(
        number=np.array([t.number for t in texts], np.int64),
        data_index=np.array([t.data_index for t in texts], np.int64),
        position=np.array([t.position for t in texts], np.int64),
        first=np.array([t.first for t in texts], np.int64),
        length=np.array([len(t.tokens) for t in texts], np.int64),
        whole=np.array([t.whole for t in texts], bool),
        largest=np.array([t.largest for t in texts], np.float64),
        smallest=np.array([t.smallest for t in texts], np.float64),
    )
    return PackedPage(
        file=name,
        sha256=digest,
        page=None if page is None else page._replace(texts=[], problems=[]),
        problems=problems,
        reader=os.getpid(),
        new=numbers.strings[before:],
        datasets=[t.dataset for t in texts],
        texts=columns,
        codes=np.concatenate([np.empty(0, np.uint32), *codes]),
        values=np.concatenate([np.empty(0), *(t.values for t in texts)]).astype(np.float32),
    )


def _place(path: Path) -> tuple[int, int] | None:
    """Layer and neuron, if the path has them as the site's addresses do."""
    numbers = path.parent.name, path.stem
    return (int(numbers[0]), int(numbers[1])) if all(_PLACE.fullmatch(n) for n in numbers) else None
