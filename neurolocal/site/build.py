"""The static site: every file of a store's pages, written by several processes.

Invariant: a file is written as a whole or not at all, and only where its content changed; so a second build of the same
store writes nothing, and an interrupted build is finished by the same command. Files of earlier builds that are no
longer part of the site are removed in the end, and nothing else (`written`).
Cost: about 80 kB a neuron; each process opens the store itself, and its memory does not depend on the number of pages.
The index of tokens and words is read once for the search, and by each process for the related neurons.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from neurolocal.errors import NeurolocalError
from neurolocal.files import remove_leftovers, replacing
from neurolocal.machine import cores, end_with_parent, without_interrupts
from neurolocal.progress import Bar
from neurolocal.records import Site
from neurolocal.site.pages import Pages
from neurolocal.site.written import read_list, remove, write_list
from neurolocal.store import Store

TOGETHER = 192
"""Files that a process makes at a time."""

AHEAD = 3
"""Parts that wait for each process."""

BY_LAYER = ("layer/", "neuron/")
"""How the names of files begin that processes write; the others need the index of the whole store."""

MARK = "assets/site.json"
"""The file by which a folder is known to hold a site."""


Deal = Callable[[Callable[[], "PageWriter"], Iterator[tuple[str, ...]]], Iterator[tuple[tuple[str, ...], int | None]]]
"""(what makes a writer in another process, parts) -> each part with how many of its files were written; None: it could
not be done."""


class FileCounts(NamedTuple):
    """What a build did."""

    files: int
    """Files of the site."""
    written: int
    """Those that were new or had changed."""
    neurons: int
    """Neuron pages among the files."""
    removed: int
    """Files of earlier builds that are no longer part of the site."""


def write_site(
    path: Path,
    folder: Path,
    *,
    site: Site | None = None,
    layers: Sequence[int] | None = None,
    neurons: Sequence[int] | None = None,
    top: int | None = None,
    processes: int | None = None,
    deal: Deal | None = None,
    bar: bool = True,
) -> FileCounts:
    """Write the site of a store into a folder.

    Args:
        path: the store.
        folder: is made; if it exists, it is empty or holds a site.
        site: where the neurons were read; None is the store's first.
        layers: these layers alone; None is all collected.
        neurons: these neurons of each layer alone; None is all.
        top: this many neurons of each layer alone, by rank; None is all.
        processes: how many; None is one for each core that this process may use.
        deal: deals the files of layers and neurons to workers elsewhere; None writes them by processes of this machine.
        bar: whether to show progress.

    Raises:
        StoreError: the store cannot be read, or has none of the layers or neurons.
        NeurolocalError: the folder holds something else or cannot be written to; jinja2 is not installed; workers could
            not write some files.
    """
    chosen: dict[str, Any] = {"layers": layers, "neurons": neurons, "top": top}
    with Store(path, site=site) as store, ExitStack() as stack:
        pages = Pages(store, **chosen)
        _prepare(folder)
        n = sum(map(len, pages.selection.neurons.values()))
        make = partial(PageWriter, path.absolute(), folder.absolute(), site, chosen)
        workers = 1 if deal is not None else min(processes or cores(), -(-n // TOGETHER))
        pool = stack.enter_context(_processes(workers, make, folder)) if workers > 1 else None
        names = list(pages.names())  # reads the index, while the processes start
        before = read_list(folder, known=pages.known)
        write_list(folder, before.union(names))
        with Bar(total=len(names), unit="file", desc="site", delay=2, disable=not bar) as shown:
            if deal is not None:
                written = _by_workers(deal, make, pages, folder, names, shown.update)
            elif pool is not None:
                written = _by_processes(pool, workers, pages, folder, names, shown.update)
            else:
                written = sum(_part(pages, folder, part, shown.update) for part in _parts(names))
        removed = remove(folder, before, kept=names)
        write_list(folder, names)
        return FileCounts(len(names), written, n, removed)


class PageWriter:
    """Writes files of a site from a store that it opens itself."""

    def __init__(self, path: Path, folder: Path, site: Site | None, chosen: dict[str, Any]) -> None:
        """Open the store; arguments as of `write_site`."""
        self.pages, self.folder = Pages(Store(path, site=site), **chosen), folder

    def write(self, names: Sequence[str]) -> int:
        """Write some files; gives how many were written."""
        return _part(self.pages, self.folder, names, lambda n: None)


def _parts(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The names in parts, in order: the files of a layer are made by few processes."""
    return (tuple(names[at : at + TOGETHER]) for at in range(0, len(names), TOGETHER))


def _prepare(folder: Path) -> None:
    """Make the folder and mark it as a site."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / MARK).is_file() and not _is_new(folder):
            raise NeurolocalError(
                f"writing a site into {folder}: the folder holds something else. Give a new or an empty folder, or one "
                "that a site was written into."
            )
    except OSError as error:
        raise NeurolocalError(
            f"making the folder {folder}: {error.strerror}. Choose a path that can be written to."
        ) from error
    remove_leftovers(folder)
    _make_folder((folder / MARK).parent)
    _write(folder / MARK, json.dumps({"format": "neurolocal-site", "version": 1}).encode() + b"\n")


def _is_new(folder: Path) -> bool:
    """Whether nothing is in a folder, but what a build leaves that is killed before the mark is written."""
    mark = folder / MARK
    left = [one for one in folder.iterdir() if one != mark.parent]
    left += mark.parent.iterdir() if mark.parent.is_dir() else []
    return all(one.name.startswith(f".{mark.name}.") and one.name.endswith(".partial") for one in left)


@contextmanager
def _processes(
    n: int, make: Callable[[], PageWriter], folder: Path
) -> Generator[ProcessPoolExecutor, None, None]:  # fmt: skip
    """Processes that write files; they start at once, and open the store."""
    context = multiprocessing.get_context("spawn")  # a fork would share HDF5's open file
    with ProcessPoolExecutor(n, context, initializer=_open, initargs=(make,)) as pool:
        try:
            with without_interrupts():  # Ctrl-C is for this process alone
                for _ in range(n):
                    pool.submit(_ready)  # starts a process
            yield pool
        except BrokenProcessPool as error:
            raise NeurolocalError(
                f"writing the site into {folder}: a process ended before its work, perhaps because memory ran out. Run "
                "the same command with --processes 1; what was written is kept."
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _by_processes(
    pool: ProcessPoolExecutor, workers: int, pages: Pages, folder: Path, names: Sequence[str],
    done: Callable[[int], object],
) -> int:  # fmt: skip
    """Write the files of layers and neurons by processes, and the others here: they need the index, which is read here.

    Gives how many files were written.
    """
    shared, own = _shared(names)
    parts = _parts(shared)
    running: dict[Future[int], int] = {}

    def submit() -> None:
        with without_interrupts():  # it may start a process
            for part in islice(parts, max(workers * AHEAD - len(running), 0)):
                running[pool.submit(_write_part, part)] = len(part)

    submit()
    written = _part(pages, folder, own, done)
    while running:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            written += future.result()
            done(running.pop(future))
        submit()
    return written


def _by_workers(
    deal: Deal, make: Callable[[], PageWriter], pages: Pages, folder: Path, names: Sequence[str],
    done: Callable[[int], object],
) -> int:  # fmt: skip
    """The same by workers elsewhere.

    Raises:
        NeurolocalError: some files could not be written; the others are.
    """
    shared, own = _shared(names)
    written, missing = _part(pages, folder, own, done), list[str]()
    for part, n in deal(make, _parts(shared)):
        done(len(part))
        written += n or 0
        missing += part if n is None else ()
    if missing:
        raise NeurolocalError(
            f"writing the site into {folder}: {len(missing):,} files could not be written, from {missing[0]} on. The "
            "others are there: run the same command again."
        )
    return written


def _shared(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The files that other processes write, and those of this one."""
    return [n for n in names if n.startswith(BY_LAYER)], [n for n in names if not n.startswith(BY_LAYER)]


_mine: PageWriter | NeurolocalError | None = None
"""What writes in this process, or why nothing can: an executor would print an error of its initializer, and lose it."""


def _open(make: Callable[[], PageWriter]) -> None:
    global _mine
    end_with_parent()
    try:
        _mine = make()
    except NeurolocalError as error:
        _mine = error
    gc.freeze()  # modules and tables stay: no collection looks at them again


def _ready() -> None:
    """Nothing: a process that receives it has started."""


def _write_part(names: Sequence[str]) -> int:
    assert _mine is not None
    if isinstance(_mine, NeurolocalError):
        raise _mine
    return _mine.write(names)


def _part(pages: Pages, folder: Path, names: Sequence[str], done: Callable[[int], object]) -> int:
    """Write some files; gives how many were written."""
    written = 0
    for parent in dict.fromkeys(name.rpartition("/")[0] for name in names):
        _make_folder(folder / parent)
    for name in names:
        content = pages.read(name)
        assert content is not None, name
        written += _write(folder / name, content)
    done(len(names))
    return written


def _write(path: Path, content: bytes) -> bool:
    """Write a file if its content is new; whether it was."""
    try:
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return False
    except OSError:
        pass
    with replacing(path, doing="writing the site's", durable=False) as beside:
        beside.write_bytes(content)
    return True


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NeurolocalError(
            f"making the site's folder {folder}: {error.strerror}. Remove what stands there, or give another folder."
        ) from error
