"""Files of saved pages -> `PackedPage`s, read by several processes.

Invariant: pages come in the order of the files, whatever the number of processes.
Cost: one read and parse a page, shared by the processes; at most `AHEAD` chunks of pages a process are in memory.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from neurolocal.errors import StoreError
from neurolocal.machine import end_with_parent, without_interrupts
from neurolocal.neuroscope.read.packed import PackedPage, StringNumbers, read_packed

CHUNK = 8
"""Pages that a process gets at a time."""

AHEAD = 3
"""Chunks a process that are being read or waiting."""

PARALLEL = 32
"""Fewest pages for which several processes are started."""

SKIPPED = {"index", "model", "random"}
"""Names of a site's files that are no neuron's page."""


def page_files(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """The page files that paths name (folders are searched), in numeric order, each with its name for messages.

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
    """A sort key that compares numbers by size, so that 9.html comes before 10.html."""
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in re.split(r"([0-9]+)", part)]


def read_pages(files: Sequence[tuple[Path, str]], *, processes: int | None = None) -> Iterator[PackedPage]:
    """The pages of some files, in order.

    Args:
        files: paths, each with its name for messages.
        processes: how many read; None is one a core, or only this one for a few pages.
    """
    processes = processes or (os.cpu_count() or 1 if len(files) >= PARALLEL else 1)
    if processes == 1:
        numbers = StringNumbers()
        for path, name in files:
            yield read_packed(path, name, numbers)
        return
    # Forked processes would share the locks of torch's threads; new ones import only this module.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=end_with_parent)
    chunks = iter([files[i : i + CHUNK] for i in range(0, len(files), CHUNK)])
    first = islice(chunks, AHEAD * processes)
    with without_interrupts():
        waiting: deque[Future[list[PackedPage]]] = deque(pool.submit(_read_chunk, chunk) for chunk in first)
    try:
        while waiting:
            yield from waiting.popleft().result()
            waiting += [pool.submit(_read_chunk, chunk) for chunk in islice(chunks, 1)]
    finally:
        pool.shutdown(cancel_futures=True)


_numbers = StringNumbers()
"""Of this process, if it is one of several. Each process takes its chunks in the order of the files."""


def _read_chunk(files: Sequence[tuple[Path, str]]) -> list[PackedPage]:
    return [read_packed(path, name, _numbers) for path, name in files]
