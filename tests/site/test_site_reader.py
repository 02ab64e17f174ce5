"""The reader: one state of the file at a time, the newest that can be opened; pages kept up to a size."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from serve_twins import client, write_small

from neurolocal.errors import StoreError
from neurolocal.site import api
from neurolocal.site import reader as readers
from neurolocal.site.api import AbsentError
from neurolocal.site.pages import Pages
from neurolocal.site.reader import OpenStore, Page, Reader
from neurolocal.store import Store


@pytest.fixture
def path(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(small, tmp_path / "s.h5"))


def replace(path: Path, **settings: object) -> None:
    """A new store in the place of the old one, as a writer puts it there."""
    new = write_small(path.with_name("new.h5"), **settings)
    new.replace(path)


def layers(answer: dict[str, Any]) -> list[int]:
    return [layer["layer"] for layer in answer["layers"]]


def test_no_store_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        Reader(tmp_path / "none.h5", live=False, say=print)


def test_a_store_that_is_replaced_is_opened_anew(path: Path) -> None:
    with client(path) as c:
        first = c.get("/").headers["etag"]
        assert layers(c.get("/api/store").json()) == [2, 5]
        replace(path, layers=(1, 3, 4))
        assert layers(c.get("/api/store").json()) == [1, 3, 4]
        assert c.get("/", headers={"if-none-match": first}).status_code == 200
        assert c.get("/api/layers/2").status_code == 404


def test_a_store_that_is_gone_stays_readable(path: Path) -> None:
    said: list[str] = []
    with client(path, said=said) as c:
        c.get("/api/store")  # it is open
        path.unlink()
        assert layers(c.get("/api/store").json()) == [2, 5]
        replace(path, layers=(1,))
        assert layers(c.get("/api/store").json()) == [1]
    assert said == []


def test_a_replacement_that_is_no_store_is_said_once(path: Path) -> None:
    said: list[str] = []
    with client(path, said=said) as c:
        c.get("/api/store")  # it is open
        broken = path.with_name("broken")
        broken.write_bytes(b"no HDF5")
        broken.replace(path)
        for _ in range(3):
            assert layers(c.get("/api/store").json()) == [2, 5]
        assert len(said) == 1
        assert "cannot be used; what was open stays open" in said[0]
        replace(path, layers=(1,))
        assert layers(c.get("/api/store").json()) == [1]


def test_pages_are_kept_up_to_a_size(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(Pages, "read", lambda self, name: (made.append(name), b"x" * int(name))[1])
    monkeypatch.setattr(readers, "KEPT", 1000)
    with Store(small) as store:
        opened = OpenStore(store, Pages(store), readers.Stamp(0, 0, 0, 0))
        for name in ("400", "500", "400", "300", "400", "2000", "2000", "500"):
            assert opened.page(name) == b"x" * int(name)
        assert made == ["400", "500", "300", "2000", "2000", "500"]  # 500 was asked for longest ago when 300 came
        assert opened.size == sum(map(len, opened.kept.values())) <= 1000


def test_no_name_is_opened(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sys.addaudithook` sees every file that is opened; the store was opened before."""
    import sys

    seen: list[str] = []
    watching = False
    sys.addaudithook(lambda event, args: seen.append(str(args[0])) if watching and event == "open" else None)
    reader = Reader(small, live=False, say=print)
    names = ["../../../../etc/passwd", "/etc/passwd", str(small), "assets/ask.js", "index.html\0", "%2e%2e/x", "~/x"]

    async def ask() -> None:
        for name in names:
            await reader.page(name)

    asyncio.run(reader.page("index.html"))
    watching = True
    asyncio.run(ask())
    watching = False
    reader.close()
    assert [name for name in seen if "passwd" in name or str(small) in name or name.endswith("x")] == []


def test_processes_read_as_a_thread_does(small: Path) -> None:
    names = ["index.html", "neuron/2/5.html", "layer/5/index.html", "nothing", "../small.h5"]

    async def pages(reader: Reader) -> list[Page | None]:
        found = [await reader.page(name) for name in names]
        found.append(await reader.page(names[0], held=found[0].tag))
        with pytest.raises(AbsentError, match="the store has no layer 9"):
            await reader.read(api.layer_neurons, 9, "largest")
        return found

    got = []
    for processes in (0, 2):
        reader = Reader(small, live=False, say=print, processes=processes)
        got.append(asyncio.run(pages(reader)))
        reader.close()
    assert got[0] == got[1]
    assert got[1][-1].content is None


def test_a_process_that_crashes_is_replaced(path: Path) -> None:
    said: list[str] = []
    reader = Reader(path, live=False, say=said.append, processes=2)

    async def crash() -> dict[str, Any]:
        with pytest.raises(StoreError, match="has crashed"):
            await reader.read(_crash)
        replace(path, layers=(1,))
        facts = [await reader.read(api.store_facts, {}) for _ in range(6)]
        assert all(layers(one) == [1] for one in facts)
        return facts[0]

    asyncio.run(crash())
    reader.close()
    assert said == []


def _crash(opened: OpenStore) -> None:
    os._exit(3)
