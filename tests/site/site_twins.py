"""What the tests of the site share: a small store, its pages, and pages read as a browser reads them."""

from __future__ import annotations

import json
import posixpath
import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="pages need the extra `site`")
sys.path.append(str(Path(__file__).parents[1] / "report"))

from report_twins import SmallStore

from neurolocal.store import Store

VOID = {"meta", "input", "img", "br", "link", "rect", "hr"}
CALL = re.compile(rb'neurolocal\.take\("([a-z0-9/-]+)",(.*)\);\n', re.DOTALL)


@cache
def small(**settings: Any) -> Path:
    """The path of a small store, written once; no test changes it."""
    return SmallStore(**settings).write(Path(mkdtemp(prefix="neurolocal-site-")) / "small.h5")


def opened(**settings: Any) -> Store:
    """A small store, open; it is closed with the process."""
    return Store(small(**settings))


def data(content: bytes, name: str) -> Any:
    """What a script file gives the page."""
    found = CALL.fullmatch(content)
    assert found, content[:80]
    assert found[1].decode() + ".js" == name
    return json.loads(found[2])


class Read(HTMLParser):
    """A page as a browser reads it: tags with attributes, and text; every tag must be closed."""

    def __init__(self, content: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(content.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def links(self, page: str) -> set[str]:
        """The files of the site that the page leads to or loads."""
        targets = {a.get(key) for _, a in self.tags for key in ("href", "src")} - {None}
        return {posixpath.normpath(posixpath.join(posixpath.dirname(page), str(t))) for t in targets if t[:1] != "#"}
