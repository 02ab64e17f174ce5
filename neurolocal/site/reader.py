"""The store that is served: read by one thread, opened anew when its file is replaced, the latest pages kept.

Invariant: nothing but the store's file is opened, whatever name is asked for; every answer is of one state of the file.
Cost: HDF5 lets one thread read at a time, so there is one; kept pages take at most `KEPT` bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

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

PROCESS = secrets.token_hex(16)
"""A part of every ETag: another process may make other pages of the same file."""


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

        def make(stamp: Stamp) -> Opened:
            store = Store(path, site=site)
            try:
                return Opened(store, Pages(store, live=live, kept=LAYERS, block=1), stamp)
            except BaseException:
                store.close()
                raise

        self._current = Current(path, make, close=lambda opened: opened.store.close(), say=say)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    async def read(self, function: Callable[[Opened], T]) -> T:
        """What a function finds in the store; it runs in the reading thread."""
        return await asyncio.wrap_future(self._thread.submit(lambda: function(self._current.get())))

    async def page(self, name: str, *, held: str = "") -> Page | None:
        """A page of the site; None where the site has no such page.

        Args:
            name: as in `Pages.names`.
            held: the tags that the client names (If-None-Match).
        """

        def find(opened: Opened) -> Page | None:
            tag = opened.tag(name)
            if tag in held:
                return Page(tag, None)
            content = opened.page(name)
            return None if content is None else Page(tag, content)

        return await self.read(find)

    def close(self) -> None:
        """Wait for what is being read, and close the file."""
        self._thread.shutdown(cancel_futures=True)
        self._current.close()
