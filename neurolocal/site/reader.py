"""The store that is served: read by one thread, opened anew when its file is replaced, the latest pages kept.

Invariant: nothing but the store's file is opened, whatever name is asked for. Every answer is of one state of the file,
which `Stamp` names. Cost: HDF5 lets one thread read at a time, so there is one; kept pages take at most `KEPT` bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from neurolocal.errors import StoreError
from neurolocal.records import Side, Site
from neurolocal.report.layer import Layer, read_layer
from neurolocal.site.pages import Pages
from neurolocal.store import Store

T = TypeVar("T")

KEPT = 64 << 20
"""Bytes of pages that are kept."""

LAYERS = 4
"""Layers whose tables are kept for the JSON interface."""

PROCESS = secrets.token_hex(16)
"""A part of every ETag: another process may make other pages of the same file."""


class Stamp(NamedTuple):
    """What tells one state of a file from another: writers put a new file in its place."""

    device: int
    inode: int
    size: int
    mtime_ns: int


@dataclass
class Opened:
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

    def tag(self, name: str) -> str:
        """The ETag of a page: equal where the file, the process and the name are."""
        of = "\0".join([PROCESS, *map(str, self.stamp), name])
        return f'"{hashlib.sha256(of.encode("utf-8", "replace")).hexdigest()[:32]}"'


class Page(NamedTuple):
    """A page to send."""

    tag: str
    """Its ETag."""
    content: bytes | None
    """None where the client has it: it named the tag."""


class Reader:
    """Reads a store for many clients at once."""

    def __init__(self, path: Path, *, site: Site | None = None, live: bool, say: Callable[[str], None]) -> None:
        """Open a store.

        Args:
            path: the store's file.
            site: which of its sites; None is its first.
            live: whether there is a subject that the pages may ask.
            say: receives one line where the file was replaced.

        Raises:
            StoreError: it is no store, or damaged.
        """
        self._path, self._site, self._live, self._say = path, site, live, say
        self._failed: Stamp | None = None
        """The last state of the file that could not be opened."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._opened = self._thread.submit(self._open).result()

    async def read(self, function: Callable[[Opened], T]) -> T:
        """What a function finds in the store; it runs in the reading thread."""
        return await asyncio.wrap_future(self._thread.submit(lambda: function(self._current())))

    async def page(self, name: str, *, held: str = "") -> Page | None:
        """A page of the site; None where the site has no such page.

        Args:
            name: as in `Pages.names`.
            held: the tags that the client names (If-None-Match).
        """
        return await asyncio.wrap_future(self._thread.submit(self._page, name, held))

    def close(self) -> None:
        """Wait for what is being read, and close the file."""
        self._thread.submit(lambda: self._opened.store.close()).result()
        self._thread.shutdown()

    def _page(self, name: str, held: str) -> Page | None:
        opened = self._current()
        tag = opened.tag(name)
        if tag in held:
            return Page(tag, None)
        content = opened.page(name)
        return None if content is None else Page(tag, content)

    def _current(self) -> Opened:
        """The store, opened anew where another file has taken its place.

        A file that is gone or cannot be opened changes nothing: the open one stays readable, and a line says so once.
        """
        try:
            stamp = _stamp(self._path)
        except OSError:
            return self._opened  # gone, or about to be replaced
        if stamp in (self._opened.stamp, self._failed):
            return self._opened
        try:
            found = self._open()
        except StoreError as error:
            self._failed = stamp
            self._say(f"serve: {self._path} has changed and cannot be opened; the pages show it as it was: {error}")
            return self._opened
        old, self._opened = self._opened, found
        with suppress(Exception):  # whatever is wrong with the old file no longer matters
            old.store.close()
        self._say(f"serve: {self._path} has changed; the pages show the new one")
        return found

    def _open(self) -> Opened:
        try:
            stamp = _stamp(self._path)
        except OSError:
            stamp = Stamp(0, 0, 0, 0)  # `Store` says what is wrong
        store = Store(self._path, site=self._site)
        try:
            return Opened(store, Pages(store, live=self._live), stamp)
        except BaseException:
            store.close()
            raise


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
