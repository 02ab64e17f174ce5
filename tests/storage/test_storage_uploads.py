"""Stores at an address: uploaded whole, checked when they are fetched, never two writers of one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import pytest
from buckets import FaultyFileSystem, raising
from fsspec.implementations.local import LocalFileSystem

from neurolocal.errors import StorageError
from neurolocal.storage import Address
from neurolocal.storage.uploads import fetch, fetched, require_upload, upload, uploads

FOLDER = Address("memory", "bucket/run")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "part0.h5"
    path.write_bytes(bytes(range(256)) * 10)
    return path


def test_an_upload_comes_back_the_same(bucket: Any, store: Path, tmp_path: Path) -> None:
    require_upload(FOLDER, store)
    assert bucket.find("/bucket") == []
    where = upload(store, FOLDER)
    note = json.loads(bucket.cat("/bucket/run/part0.json"))
    assert str(where) == f"memory://bucket/run/{note['file']}"
    assert note == {"file": f"part0.{note['sha256'][:12]}.h5", "bytes": 2560, "sha256": note["sha256"]}
    (tmp_path / "there").mkdir()
    said: list[str] = []
    for place in (FOLDER, Address("memory", "bucket/run/*.json"), FOLDER / "part0.json"):
        (folder := tmp_path / place.name.strip("*")).mkdir()
        same, copy = fetched([store, place], folder, say=said.append)
        assert (same, copy.name, copy.read_bytes()) == (store, "part0.h5", store.read_bytes())
    assert said[0] == f"fetching memory:///bucket/run/{note['file']}, 2,560 bytes"


def test_two_writers_never_write_one_file(bucket: Any, store: Path) -> None:
    first = upload(store, FOLDER)
    store.write_bytes(b"another result")
    second = upload(store, FOLDER)
    assert first != second
    assert bucket.cat(first.path) == bytes(range(256)) * 10
    (only,) = uploads(FOLDER)
    assert only.file == second.name


@pytest.mark.parametrize("damage", [lambda data: data[:-1] + b"x", lambda data: data[:-1], lambda data: b""])
def test_a_damaged_store_is_named(bucket: Any, store: Path, tmp_path: Path, damage: Any) -> None:
    (folder := tmp_path / "there").mkdir()
    where = upload(store, FOLDER)
    bucket.pipe(where.path, damage(store.read_bytes()))
    with pytest.raises(StorageError, match=rf"fetching memory:///{where.path}: it is damaged .* Run the command that"):
        fetch(uploads(FOLDER)[0], folder)
    assert not list(folder.iterdir())


def test_what_is_damaged_on_its_way_is_fetched_once_more(bucket: Any, store: Path, tmp_path: Path) -> None:
    upload(store, FOLDER)
    (there,) = uploads(Address("faulty", "bucket/run"))
    (folder := tmp_path / "there").mkdir()
    FaultyFileSystem.faults = [lambda path, found: found[:-1] + b"x", raising(ConnectionResetError("dropped"))]
    assert fetch(there, folder).read_bytes() == store.read_bytes()
    assert not FaultyFileSystem.faults


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../../etc/x.h5"}, {"file": "/etc/x.h5"}, {"file": "a\\b.h5"}, {"file": 3}, {"bytes": -1},
        {"bytes": "1"}, {"sha256": "0"}, {"sha256": None},
    ],
)  # fmt: skip
def test_a_hostile_note_is_refused(bucket: Any, store: Path, change: dict[str, Any]) -> None:
    upload(store, FOLDER)
    note = json.loads(bucket.cat("/bucket/run/part0.json"))
    for text in (json.dumps(note | change).encode(), b"{", b"[]", b"{}", b" " * (1 << 17)):
        bucket.pipe("/bucket/run/part0.json", text)
        with pytest.raises(StorageError, match=r"part0.json: it states no store"):
            uploads(FOLDER)


def test_an_upload_that_is_cut_is_sent_again(bucket: Any, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = type(bucket).put_file, [2]

    def put_file(self: Any, local: str, path: str, **how: Any) -> None:
        real(self, local, path, **how)
        if left[0]:
            left[0] -= 1
            self.pipe(path, store.read_bytes()[:-1])
        if left[0] == 1:
            raise ConnectionResetError("dropped")

    monkeypatch.setattr(type(bucket), "put_file", put_file)
    assert bucket.cat(upload(store, FOLDER).path) == store.read_bytes()


def test_a_place_that_cannot_be_written_is_refused_beforehand(
    bucket: Any, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, path: str, data: bytes, **how: Any) -> None:
        raise PermissionError("403 Forbidden")

    monkeypatch.setattr(type(bucket), "pipe_file", refuse)
    with pytest.raises(StorageError, match="writing to memory://bucket/run: PermissionError: 403 Forbidden"):
        require_upload(FOLDER, store)
    with pytest.raises(StorageError, match="a path of this machine, and --upload takes an address"):
        require_upload(store.parent, store)


def test_a_storage_with_folders_gets_one_and_no_more(store: Path, tmp_path: Path) -> None:
    """fsspec's local files, behind an address: the folder is made, and the one above it must be there."""
    fsspec.register_implementation("disk", Disk, clobber=True)
    (tmp_path / "there").mkdir()
    folder = Address("disk", f"{tmp_path}/there/run")
    require_upload(folder, store)
    upload(store, folder)
    assert fetch(uploads(folder)[0], tmp_path / "there").read_bytes() == store.read_bytes()
    with pytest.raises(StorageError, match=r"writing to disk://.*/none/run: there is nothing at this address"):
        require_upload(Address("disk", f"{tmp_path}/none/run"), store)
    assert not (tmp_path / "none").exists()


class Disk(LocalFileSystem):
    protocol = "disk"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return LocalFileSystem._strip_protocol(path.removeprefix("disk://"))


def test_a_folder_without_stores_says_so(bucket: Any) -> None:
    bucket.pipe("/bucket/run/x.h5", b"1")
    with pytest.raises(StorageError, match=r"no .json states a store there. Give the folder that --upload named"):
        uploads(FOLDER)
