"""The store that is served: read beside the server, opened anew when its file is replaced, the latest pages kept.

Invariant: nothing but the store's file is opened, whatever name is asked for; every answer is of one state of the file.
Cost: HDF5 and Python let one thread of a process read at a time, so there are processes, each with its tables and
`KEPT` bytes of pages.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import multiprocessing
import os
import secrets
import signal
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from multiprocessing import connection, resource_tracker
from pathlib import Path
from typing import NamedTuple, TypeVar

from neurolocal.errors import StoreError
from neurolocal.literals import Side, Site
from neurolocal.report.layer import Layer, read_layer
from neurolocal.site.current import Current, Stamp
from neurolocal.site.pages import Pages
from neurolocal.store import Store

T = TypeVar("T")

KEPT = 64 << 20
"""Bytes of pages that are kept."""

LAYERS = 48
"""Layers whose tables are kept: readers go from layer to layer."""

SERVER = secrets.token_hex(16)
"""A part of every ETag: another server may make other pages of the same file."""


@dataclass
class OpenStore:
    """A store as it was when it was opened, with its pages."""

    store: Store
    pages: Pages
    stamp: Stamp
    kept: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    """The pages that were asked for last."""
    size: int = 0
    """Bytes of `kept`."""

    def page(self, name: str) -> bytes | None:
        """A page, kept or made."""
        if name in self.kept:
            self.kept.move_to_end(name)
            return self.kept[name]
        made = self.pages.read(name)
        if made is not None and len(made) <= KEPT:
            self.kept[name] = made
            self.size += len(made)
            while self.size > KEPT:
                self.size -= len(self.kept.popitem(last=False)[1])
        return made

    @cached_property
    def layer(self) -> Callable[[int, Side], Layer]:
        """The tables of a layer and side; the last few are kept. Raises a StoreError where there is no such layer."""
        return lru_cache(LAYERS)(lambda layer, side: read_layer(self.store, layer, side=side, whole=False))

    def tag(self, server: str, name: str) -> str:
        """The ETag of a page: equal where the file, the server and the name are."""
        of = "\0".join([server, *map(str, self.stamp), name])
        return f'"{hashlib.sha256(of.encode("utf-8", "replace")).hexdigest()[:32]}"'


class Page(NamedTuple):
    """A page to send."""

    tag: str
    """Its ETag."""
    content: bytes | None
    """None where the client has it: it named the tag."""


class Reader:
    """Reads a store for many clients at once."""

    def __init__(
        self, path: Path, *, site: Site | None = None, live: bool, say: Callable[[str], None], processes: int = 0
    ) -> None:  # fmt: skip
        """Open a store.

        Args:
            path: the store's file.
            site: which of its sites; None is its first.
            live: whether there is a subject that the pages may ask.
            say: receives one line where the file was replaced.
            processes: that read; 0 reads in a thread of this one.

        Raises:
            StoreError: it is no store, or damaged.
        """
        with Store(path, site=site) as store:
            Pages(store, live=live)  # what is wrong is said at once
        self._place: tuple[Path, Site | None, bool] = (path, site, live)
        self._processes, self._say = processes, say
        self._said: set[str] = set()
        """The lines that were said: each process has the same."""
        self._pool = self._start()

    async def read(self, function: Callable[..., T], *arguments: object) -> T:
        """What a function finds in the store: it receives the `OpenStore` and the arguments, elsewhere.

        Raises:
            StoreError: what the function raises, or the process that read has crashed; the next question has another.
        """
        pool = self._pool
        try:
            found, lines = await asyncio.wrap_future(pool.submit(_answer, function, arguments))
        except BrokenProcessPool as error:
            if pool is self._pool:
                self._pool = self._start()
                pool.shutdown(wait=False)
            raise StoreError(f"reading {self._place[0]}: the process that reads it has crashed. Ask again.") from error
        for line in lines:
            if line not in self._said:
                self._said.add(line)
                self._say(line)
        return found

    async def page(self, name: str, *, held: str = "") -> Page | None:
        """A page of the site; None where the site has no such page.

        Args:
            name: as in `Pages.names`.
            held: the tags that the client names (If-None-Match).
        """
        return await self.read(_page, SERVER, name, held)

    def close(self) -> None:
        """Wait for what is being read, and close the file."""
        if not self._processes:
            self._pool.submit(_end)
        self._pool.shutdown()

    def _start(self) -> Executor:
        if not self._processes:
            thread = ThreadPoolExecutor(1, "store", initializer=_begin, initargs=self._place)
            thread.submit(_warm)
            return thread
        context = multiprocessing.get_context("spawn")  # a fork would share what torch and the server have open
        pool = ProcessPoolExecutor(self._processes, context, initializer=_begin_process, initargs=self._place)
        with _without_interrupts():
            for _ in range(self._processes):
                pool.submit(_warm)  # starts a process
        return pool


@contextmanager
def _without_interrupts() -> Generator[None, None, None]:
    """Block SIGINT in this thread, and in the processes that it starts: they inherit that, so Ctrl-C ends none."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing's own process; its start would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# What follows runs where the store is read: in a thread, or in a process that does nothing else.

_here = threading.local()
"""`current`: the store, from the first question on; `lines`: what is to be said."""


def _begin(path: Path, site: Site | None, live: bool) -> None:
    def make(stamp: Stamp) -> OpenStore:
        store = Store(path, site=site)
        try:
            return OpenStore(store, Pages(store, live=live, kept=LAYERS, block=1), stamp)
        except BaseException:
            store.close()
            raise

    _here.lines = []
    _here.begin = lambda: Current(path, make, close=lambda opened: opened.store.close(), say=_here.lines.append)


def _begin_process(path: Path, site: Site | None, live: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the server ends this one
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    _begin(path, site, live)


def _end_with(sentinel: int) -> None:
    """End this process when its parent has ended, however it did."""
    connection.wait([sentinel])
    os._exit(1)


def _current() -> Current[OpenStore]:
    if not hasattr(_here, "current"):
        _here.current = _here.begin()
    return _here.current


def _warm() -> None:
    """Open the store and make the first page, which takes longest, before anybody asks for it."""
    _current().get().page("index.html")
    if multiprocessing.parent_process() is not None:
        gc.freeze()  # modules and tables stay: no collection looks at them again


def _answer(function: Callable[..., T], arguments: tuple[object, ...]) -> tuple[T, list[str]]:
    found = function(_current().get(), *arguments)
    lines = list(_here.lines)
    _here.lines.clear()
    return found, lines


def _page(opened: OpenStore, server: str, name: str, held: str) -> Page | None:
    tag = opened.tag(server, name)
    if tag in held:
        return Page(tag, None)
    content = opened.page(name)
    return None if content is None else Page(tag, content)


def _end() -> None:
    if hasattr(_here, "current"):
        _here.current.close()
