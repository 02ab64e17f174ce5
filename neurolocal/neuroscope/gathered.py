"""Rows seen on many pages -> each once, by its data index; token strings -> the vocabulary that they make up.

Invariant: what two pages say of one row agrees, token by token, or the later text is refused by name. A row of which
only windows were seen holds an unknown token elsewhere. The vocabulary is sorted, so it does not depend on the order of
the pages. Cost: tokens and values lie in temporary files beside the store, 8 bytes a token, and not in memory, where a
row takes some 300 bytes.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt32

from neurolocal.errors import StoreError
from neurolocal.neuroscope.pages import PageError
from neurolocal.provenance import Parts
from neurolocal.store import StoredRows
from neurolocal.words import Vocabulary

UNKNOWN = 0xFFFFFFFF
"""In place of a string's number where no page has shown the token."""

SPECIAL = re.compile(r"<\|[^<>|\s]{1,40}\|>|</?s>|<(?:unk|pad|bos|eos|BOS|EOS)>")
"""Strings that are control tokens of some tokenizer; pages of others don't say which are."""


@contextmanager
def folder_of(out: Path) -> Iterator[Path]:
    """The folder of a store that is to be written, made if need be, where temporary files go.

    Raises:
        StoreError: the folder cannot be written, or the disk is full, now or within the block.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield out.parent
    except OSError as error:
        raise StoreError(
            f"writing {out}: {error.strerror or error}. What was there is untouched; make room beside it or give "
            "another place, and run the same command again."
        ) from error


class Spool:
    """Arrays of one type, one after the other, in a file without a name: gone when the process is."""

    def __init__(self, folder: Path, dtype: str) -> None:
        """An empty one in a folder."""
        self.dtype, self.length, self._at_end = np.dtype(dtype), 0, True
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".neurolocal-")  # noqa: SIM115  closed by `close`

    def add(self, array: np.ndarray) -> int:
        """Keep an array; where it begins."""
        start = self.length
        if not self._at_end:  # a seek would empty the buffer
            self._file.seek(0, 2)
        self._at_end = True
        self._file.write(np.ascontiguousarray(array, self.dtype).data)
        self.length += len(array)
        return start

    def read(self, start: int, length: int) -> np.ndarray:
        """A stretch of what was kept; a copy."""
        self._file.seek(start * self.dtype.itemsize)
        self._at_end = False
        return np.frombuffer(self._file.read(length * self.dtype.itemsize), self.dtype)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def disk_table(folder: Path, dtype: str, shape: tuple[int, ...]) -> Any:
    """An array of zeros that lies in a file without a name and not in memory."""
    if not all(shape):
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(dir=folder, prefix=".neurolocal-") as file:
        # Room is made at once: on a full disk, a write into a mapped file would kill the process.
        os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(dtype).itemsize)
        return np.memmap(file, np.dtype(dtype), "w+", shape=shape)


class _Row(NamedTuple):
    start: int
    """Where its tokens begin in the spool."""
    length: int
    dataset: str
    whole: bool
    """Whether some page showed all of it."""


class Rows:
    """The rows of all pages, by data index."""

    def __init__(self, folder: Path) -> None:
        """None yet; temporary files go to `folder`."""
        self.folder = folder
        self._numbers: dict[str, int] = {}
        self._of: dict[int, UInt32[np.ndarray, "string"]] = {}
        self._rows: dict[int, _Row] = {}
        self._used = np.zeros(0, bool)
        self._tokens = Spool(folder, "<u4")

    def __len__(self) -> int:
        """Rows so far."""
        return len(self._rows)

    def number(self, reader: int, new: list[str], codes: UInt32[np.ndarray, "token"]) -> UInt32[np.ndarray, "token"]:
        """The numbers of tokens, new strings counted on.

        Args:
            reader: of the page.
            new: strings that it names for the first time.
            codes: the tokens, in its own numbers: those strings behind all that it named before.
        """
        numbers, old = self._numbers, self._of.get(reader, np.empty(0, np.uint32))
        more = [numbers.setdefault(s, len(numbers)) for s in new]
        self._of[reader] = of = np.concatenate([old, np.array(more, np.uint32)])
        return of[codes]

    def add(self, index: int, dataset: str, first: int, tokens: UInt32[np.ndarray, "pos"], *, whole: bool) -> None:
        """Take in what a text says of a row.

        Args:
            index: its data index.
            dataset: that the index is of.
            first: position of the first token.
            tokens: numbers of strings.
            whole: whether that is the whole row.

        Raises:
            PageError: another page says otherwise.
        """
        own = np.concatenate([np.full(first, UNKNOWN, np.uint32), tokens])
        old = self._rows.get(index)
        if old is not None:
            there = self._tokens.read(old.start, old.length)
            if old.whole and whole and np.array_equal(own, there) and old.dataset == dataset:
                return  # the usual case
            a, b = _padded(own, old.length), _padded(there, len(own))
            differ = bool(((a != b) & (a != UNKNOWN) & (b != UNKNOWN)).any())
            longer = (old.whole and len(own) > old.length) or (whole and old.length > len(own))
            if differ or longer or old.dataset != dataset:
                raise PageError(
                    f"an earlier page has another text at data index {index}"
                    f"{f' (of {old.dataset})' if old.dataset != dataset else ''}; this one is left out"
                )
            own, whole = np.where(b == UNKNOWN, a, b), whole or old.whole
            if np.array_equal(own, there) and whole == old.whole:
                return
        if len(self._used) < len(self._numbers):
            self._used = np.concatenate([self._used, np.zeros(len(self._numbers), bool)])
        self._used[tokens] = True
        self._rows[index] = _Row(self._tokens.add(own), len(own), dataset, whole)

    def stored(self, special: set[str]) -> Stored:
        """All of them, as a store holds them.

        Args:
            special: strings known to be control tokens, beside those that look like some.
        """
        index = np.array(sorted(self._rows), np.int64)
        rows = [self._rows[i] for i in index.tolist()]
        used = [s for s, number in self._numbers.items() if number < len(self._used) and self._used[number]]
        strings = sorted(used, key=lambda s: s.encode())
        some_unknown = any(not row.whole for row in rows)
        of = np.full(len(self._numbers) + 1, len(strings), np.uint32)  # the unknown token, but for those below
        of[[self._numbers[s] for s in strings]] = np.arange(len(strings), dtype=np.uint32)
        vocabulary = Vocabulary(
            [s.encode() for s in strings] + [b""] * some_unknown,
            np.array([bool(SPECIAL.fullmatch(s)) or s in special for s in strings] + [True] * some_unknown, bool),
        )
        small = len(vocabulary.tokens) <= 1 << 16
        width = max((row.length for row in rows), default=0)
        tokens = disk_table(self.folder, "<u2" if small else "<u4", (len(rows), width))
        firsts = set[int]()
        for i, row in enumerate(rows):
            own = of[np.minimum(self._tokens.read(row.start, row.length), len(self._numbers))]
            tokens[i, : row.length] = own
            firsts.add(int(own[0]))
        origins = [(0, 0, i, -1, row.dataset) for i, row in zip(index.tolist(), rows, strict=True)]
        parts = Parts.of(list(range(1, len(rows) + 1)), origins)
        length = np.array([row.length for row in rows], np.int64)
        known = firsts - ({len(strings)} if some_unknown else set())
        bos = known.pop() if len(known) == 1 else None
        bos = bos if bos is not None and vocabulary.special[bos] else None
        return Stored(StoredRows(tokens, length, index, parts.columns()), vocabulary, bos)

    def close(self) -> None:
        """Let go of the temporary files."""
        self._tokens.close()


class Stored(NamedTuple):
    """Rows and vocabulary, as a store holds them."""

    rows: StoredRows
    vocabulary: Vocabulary
    """The strings, sorted by their bytes; behind them an unknown token where only windows of a row were seen."""
    bos: int | None
    """The control token that every row begins with, where there is one."""


def _padded(row: UInt32[np.ndarray, "pos"], length: int) -> UInt32[np.ndarray, "longer"]:
    return np.concatenate([row, np.full(max(length - len(row), 0), UNKNOWN, np.uint32)])
