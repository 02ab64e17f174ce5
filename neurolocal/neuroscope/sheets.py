"""Files of pages -> what each says, compact enough to be passed between processes and kept.

Invariant: in the order of the files, whatever the number of processes; a file that cannot be read is a `Sheet` with its
problem alone. Cost: 6 ms a page of 20 texts of 1,024 tokens on one core; at most `AHEAD` chunks of pages a process are
in memory.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt32

from neurolocal.errors import StoreError
from neurolocal.neuroscope.pages import Page, PageError, Problem, Text, read_page

CHUNK = 8
"""Pages that a process is given at a time."""

AHEAD = 3
"""Chunks a process that are under way."""

PARALLEL = 32
"""Pages from which processes are worth starting."""

LARGEST = 1 << 30
"""Bytes of a file beyond which it is no page."""

SKIPPED = {"index", "model", "random"}
"""Names of a site's files that are no neuron's page."""

_PLACE = re.compile(r"[0-9]{1,9}")


class Sheet(NamedTuple):
    """A page, packed: the texts' strings once each, and everything else in arrays."""

    file: str
    """As it was found, relative to the folder that was given."""
    sha256: str
    """Of the file."""
    page: Page | None
    """Without its texts; None where nothing could be read."""
    problems: list[Problem]
    reader: int
    """Which process read it: strings have numbers within that process."""
    new: list[str]
    """Strings that it had not met before: its next numbers, in this order."""
    datasets: list[str]
    """The data set of each text."""
    places: Int64[np.ndarray, "text 6"]
    """Number on the page, data index, position of the peak, position of the first token, tokens, 1 of a whole row."""
    printed: Float64[np.ndarray, "text 2"]
    """Largest and smallest activation, as printed."""
    codes: UInt32[np.ndarray, "token"]
    """The number of each token's string, text after text."""
    values: Float32[np.ndarray, "token"]
    """The activation of each."""


class Numbers(dict[str, int]):
    """Strings -> numbers from 0, in the order in which they were first asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.strings: list[str] = []

    def __missing__(self, string: str) -> int:
        """The next number."""
        self[string] = number = len(self.strings)
        self.strings.append(string)
        return number


def page_files(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """The page files that paths name (folders are searched), by number, and how each is called.

    Raises:
        StoreError: no such path, or no page in it.
    """
    found: list[tuple[Path, str]] = []
    for path in paths:
        if path.is_dir():
            inside = [f for f in path.rglob("*") if f.suffix.lower() in (".html", ".htm") and f.is_file()]
            found += [(f, str(f.relative_to(path))) for f in inside if f.stem not in SKIPPED]
        elif path.is_file():
            found.append((path, path.name))
        else:
            raise StoreError(f"importing {path}: there is no such file or folder. Check the path.")
    if not found:
        raise StoreError(
            f"importing {', '.join(map(str, paths))}: no page in there (LAYER/NEURON.html, as saved from the site). "
            "Give the folder that holds them; nothing is ever downloaded."
        )
    return sorted(dict(found).items(), key=lambda item: [_natural(part) for part in Path(item[1]).parts])


def _natural(part: str) -> list[tuple[int, int, str]]:
    """Numbers by their size, so that 9.html comes before 10.html."""
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in re.split(r"([0-9]+)", part)]


def read_sheets(files: Sequence[tuple[Path, str]], *, processes: int | None = None) -> Iterator[Sheet]:
    """The pages of some files, in order.

    Args:
        files: paths, and how each is called.
        processes: that read them; None is one a core, and this one alone for a few pages.
    """
    processes = processes or (os.cpu_count() or 1 if len(files) >= PARALLEL else 1)
    if processes == 1:
        numbers = Numbers()
        for path, name in files:
            yield read_sheet(path, name, numbers)
        return
    # Forked processes would share the locks of torch's threads; fresh ones import this module alone.
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    chunks = iter([files[i : i + CHUNK] for i in range(0, len(files), CHUNK)])
    waiting: deque[Future[list[Sheet]]] = deque(pool.submit(_read_some, c) for c in islice(chunks, AHEAD * processes))
    try:
        while waiting:
            yield from waiting.popleft().result()
            waiting += [pool.submit(_read_some, chunk) for chunk in islice(chunks, 1)]
    finally:
        pool.shutdown(cancel_futures=True)


_numbers = Numbers()
"""Of this process, where it is one of several: its chunks are taken in the order in which they were given out."""


def _read_some(files: Sequence[tuple[Path, str]]) -> list[Sheet]:
    return [read_sheet(path, name, _numbers) for path, name in files]


def read_sheet(path: Path, name: str, numbers: Numbers) -> Sheet:
    """One page, packed; strings that are new get the next numbers."""
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
    name: str, digest: str, page: Page | None, problems: list[Problem], texts: list[Text], numbers: Numbers
) -> Sheet:
    """Put what a page says into arrays."""
    before = len(numbers)
    codes = [np.fromiter(map(numbers.__getitem__, t.tokens), np.uint32, len(t.tokens)) for t in texts]
    places = [(t.number, t.data_index, t.position, t.first, len(t.tokens), t.whole) for t in texts]
    return Sheet(
        name, digest, None if page is None else page._replace(texts=[], problems=[]), problems, os.getpid(),
        numbers.strings[before:], [t.dataset for t in texts], np.array(places, np.int64).reshape(-1, 6),
        np.array([(t.largest, t.smallest) for t in texts], np.float64).reshape(-1, 2),
        np.concatenate([np.empty(0, np.uint32), *codes]),
        np.concatenate([np.empty(0), *(t.values for t in texts)]).astype(np.float32),
    )  # fmt: skip


def _place(path: Path) -> tuple[int, int] | None:
    """Layer and neuron, where the path says them as the site's addresses do."""
    numbers = path.parent.name, path.stem
    return (int(numbers[0]), int(numbers[1])) if all(_PLACE.fullmatch(n) for n in numbers) else None
