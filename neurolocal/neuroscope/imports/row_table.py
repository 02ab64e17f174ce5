"""Rows that occur on many pages -> each once, by its data index; token strings -> their vocabulary.

Invariant: two pages that show the same row must agree token by token; otherwise the later text is left out and named. A
row of which only windows were seen holds an unknown token elsewhere. The vocabulary is sorted, so it does not depend on
the order of the pages.
Cost: tokens lie in temporary files, 4 bytes a token; memory holds some 300 bytes a row, and each distinct string.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt32

from neurolocal.neuroscope.imports.spool import Spool, disk_table
from neurolocal.neuroscope.read.blob import PageError
from neurolocal.provenance import Parts
from neurolocal.store import StoredRows
from neurolocal.words import Vocabulary

UNKNOWN = 0xFFFFFFFF
"""Stands for a string's number where no page has shown the token."""

SPECIAL = re.compile(r"<\|[^<>|\s]{1,40}\|>|</?s>|<(?:unk|pad|bos|eos|BOS|EOS)>")
"""Strings that are control tokens of some tokenizer; pages of other sites do not mark them."""


class _SpooledRow(NamedTuple):
    """One row, whose tokens lie in the spool."""

    start: int
    """Where its tokens begin in the spool."""
    length: int
    dataset: str
    whole: bool
    """Whether a page showed all of it."""


class RowTable:
    """The rows of all pages, by data index."""

    def __init__(self, folder: Path) -> None:
        """An empty table; temporary files go to `folder`."""
        self.folder = folder
        self._numbers: dict[str, int] = {}
        self._of: dict[int, UInt32[np.ndarray, "string"]] = {}
        self._rows: dict[int, _SpooledRow] = {}
        self._used = np.zeros(0, bool)
        self._tokens = Spool(folder, "<u4")

    def __len__(self) -> int:
        """Number of rows so far."""
        return len(self._rows)

    def number(self, reader: int, new: list[str], codes: UInt32[np.ndarray, "token"]) -> UInt32[np.ndarray, "token"]:
        """Translate a reader's string numbers to those of this table.

        Args:
            reader: the process that read the page.
            new: strings that it met for the first time; its next numbers, in this order.
            codes: the tokens, in the reader's numbers.
        """
        numbers, old = self._numbers, self._of.get(reader, np.empty(0, np.uint32))
        more = [numbers.setdefault(s, len(numbers)) for s in new]
        self._of[reader] = of = np.concatenate([old, np.array(more, np.uint32)])
        return of[codes]

    def add(self, index: int, dataset: str, first: int, tokens: UInt32[np.ndarray, "pos"], *, whole: bool) -> None:
        """Add a text's tokens to a row.

        Args:
            index: its data index.
            dataset: that the index refers to.
            first: position of the first token.
            tokens: numbers of strings.
            whole: whether the tokens are the whole row.

        Raises:
            PageError: another page shows other tokens there.
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
        self._rows[index] = _SpooledRow(self._tokens.add(own), len(own), dataset, whole)

    def corpus(self, special: set[str]) -> ImportedCorpus:
        """All rows and the vocabulary, as a store holds them.

        Args:
            special: strings known to be control tokens, in addition to those that match `SPECIAL`.
        """
        index = np.array(sorted(self._rows), np.int64)
        rows = [self._rows[i] for i in index.tolist()]
        used = [s for s, number in self._numbers.items() if number < len(self._used) and self._used[number]]
        strings = sorted(used, key=lambda s: s.encode())
        some_unknown = any(not row.whole for row in rows)
        of = np.full(len(self._numbers) + 1, len(strings), np.uint32)  # the unknown token, except for those below
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
        return ImportedCorpus(StoredRows(tokens, length, index, parts.columns()), vocabulary, bos)

    def close(self) -> None:
        """Delete the temporary file."""
        self._tokens.close()


class ImportedCorpus(NamedTuple):
    """Rows and vocabulary, as a store holds them."""

    rows: StoredRows
    vocabulary: Vocabulary
    """The strings, sorted by their bytes; then an unknown token, if only windows of a row were seen."""
    bos: int | None
    """The control token that every row begins with; None without one."""


def _padded(row: UInt32[np.ndarray, "pos"], length: int) -> UInt32[np.ndarray, "longer"]:
    return np.concatenate([row, np.full(max(length - len(row), 0), UNKNOWN, np.uint32)])
