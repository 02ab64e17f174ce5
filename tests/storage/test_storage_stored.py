"""Files at an address: listings, streams with faults, changes under a reader, copies."""

from __future__ import annotations

import errno
import os
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
from buckets import FaultyFileSystem, raising

from neurolocal.errors import StorageError
from neurolocal.files import cache_folder
from neurolocal.storage import Address, StoredFile, on_disk, stored, stored_files

DATA = random.Random(0).randbytes(100_000)


def only(address: str) -> StoredFile:
    protocol, _, path = address.partition("://")
    files, left = stored_files(Address(protocol, path))
    assert (len(files), left) == (1, [])
    return files[0]


@pytest.fixture
def file(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> StoredFile:
    """`DATA` behind faults, in blocks of 1,024 to 16,384 bytes."""
    monkeypatch.setattr(stored, "FIRST_BLOCK", 1 << 10)
    monkeypatch.setattr(stored, "BLOCK", 1 << 14)
    bucket.pipe("/bucket/a.bin", DATA)
    return only("faulty://bucket/a.bin")


def test_a_pattern_a_folder_and_a_file(bucket: Any) -> None:
    for name in ("a-b/x", "a/x", "a/b/y", "z.txt"):
        bucket.pipe(f"/bucket/pile/{name}", b"1")
    names = {
        pattern: [file.relative for file in stored_files(Address("memory", f"bucket/pile{pattern}"))[0]]
        for pattern in ("", "/", "/z.txt", "/*/x", "/a/**", "/?.txt")
    }
    assert names == {
        "": ["a/b/y", "a/x", "a-b/x", "z.txt"],  # the order of paths, as on a disk, not of their letters
        "/": ["a/b/y", "a/x", "a-b/x", "z.txt"],
        "/z.txt": ["z.txt"],
        "/*/x": ["a/x", "a-b/x"],
        "/a/**": ["b/y", "x"],
        "/?.txt": ["z.txt"],
    }
    with pytest.raises(StorageError, match="listing memory://bucket/none: there is nothing at this address"):
        stored_files(Address("memory", "bucket/none"))


def test_names_that_lead_elsewhere_are_left_out(bucket: Any) -> None:
    hostile = ["../up", "a/../../up", "C:/x", "a\\..\\b", "nul\0"]
    bucket.pipe("/bucket/pile/good/x", b"1")
    for name in hostile:  # as a storage would list them; fsspec's own calls would clean them
        bucket.store[f"/bucket/pile/{name}"] = bucket.store["/bucket/pile/good/x"]
    files, left = stored_files(Address("memory", "bucket/pile"))
    assert [file.relative for file in files] == ["good/x"]
    assert len(left) == len(hostile)


def test_a_stream_is_read_from_any_place(file: StoredFile) -> None:
    with file.open() as stream:
        assert stream.read(10) == DATA[:10]
        assert stream.tell() == 10
        stream.seek(-7, os.SEEK_END)
        assert stream.read() == DATA[-7:]
        assert stream.read() == b""
        stream.seek(50_000)
        assert stream.read(3) == DATA[50_000:50_003]
    with file.open() as stream:
        FaultyFileSystem.requests.clear()
        assert stream.read() == DATA
    sizes = [end - start for _, start, end in FaultyFileSystem.requests]
    assert sizes[:5] == [1024, 2048, 4096, 8192, 16384]
    assert max(sizes) == 16384
    assert sum(sizes) == len(DATA)
    assert pickle.loads(pickle.dumps(file)) == file


def test_a_folder_that_does_not_answer_is_no_empty_one(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.pipe("/bucket/pile/a/x", b"1")
    bucket.pipe("/bucket/pile/b/x", b"1")
    real, left = type(bucket).ls, [3]

    def ls(self: Any, path: str, **how: Any) -> Any:
        if path.endswith("/b") and left[0]:
            left[0] -= 1
            raise OSError("503")
        return real(self, path, **how)

    monkeypatch.setattr(type(bucket), "ls", ls)
    for pattern in ("", "/*/x"):
        left[0] = 3
        assert len(stored_files(Address("memory", f"bucket/pile{pattern}"))[0]) == 2
    left[0] = 100
    with pytest.raises(StorageError, match="listing memory://bucket/pile: tried 12 times"):
        stored_files(Address("memory", "bucket/pile"))


PASSING = [
    raising(OSError(errno.EBUSY, "503 SlowDown")),
    raising(ConnectionResetError("dropped")),
    raising(TimeoutError("no answer")),
    lambda path, found: found[: len(found) // 2],
    lambda path, found: b"",
]


def test_drops_503s_and_cut_answers_are_asked_for_again(
    file: StoredFile, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "dropped-key")
    FaultyFileSystem.faults = [*PASSING, raising(ConnectionResetError("dropped-key"))]
    with file.open() as stream:
        assert stream.read() == DATA
    assert not FaultyFileSystem.faults
    assert caplog.messages == [
        "reading faulty:///bucket/a.bin: dropped; trying again for up to 300 s",
    ]  # fmt: skip


def test_a_network_that_stays_away_ends_with_what_to_do(file: StoredFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    FaultyFileSystem.faults = [raising(ConnectionError("no route; signed with wJalrXUtnFEMI"))] * 100
    with file.open() as stream, pytest.raises(StorageError) as ended:
        stream.read()
    assert str(ended.value).startswith("reading faulty:///bucket/a.bin: tried 12 times in ")
    assert "no route; signed with ***. Check the network and the storage" in str(ended.value)
    assert "wJalr" not in repr(ended.value.__cause__)


@pytest.mark.parametrize("error", [PermissionError("403"), ValueError("no such setting"), FileNotFoundError("gone")])
def test_what_trying_again_does_not_mend_ends_at_once(file: StoredFile, error: Exception) -> None:
    FaultyFileSystem.faults = [raising(error)] * 3
    with file.open() as stream, pytest.raises(StorageError):
        stream.read()
    assert len(FaultyFileSystem.faults) == 2


@pytest.mark.parametrize("replacement", [DATA[::-1], DATA[:50_000], DATA + b"more"])
def test_a_file_that_is_changed_while_it_is_read_is_an_error(file: StoredFile, bucket: Any, replacement: bytes) -> None:
    def change(path: str, found: bytes) -> bytes:
        bucket.pipe("/bucket/a.bin", replacement)
        return found

    with file.open() as stream:
        stream.read(1)
        FaultyFileSystem.faults = [change]
        with pytest.raises(StorageError, match="it was changed on the storage while it was read, from"):
            stream.read()
    with pytest.raises(StorageError, match="it was changed"):
        file.open().read(1)


def test_a_copy_is_deleted_when_it_was_read(file: StoredFile, tmp_path: Path) -> None:
    with on_disk(file) as copy:
        assert copy.read_bytes() == DATA
        assert copy.suffix == ".bin"
    assert not list(cache_folder("scratch").iterdir())
    with on_disk(tmp_path) as same:
        assert same == tmp_path


def test_copies_that_a_killed_process_left_are_deleted(file: StoredFile) -> None:
    with on_disk(file) as copy:
        host = copy.parent.name.split("-")[0]
        left = copy.parent.parent / f"{host}-4194305-xyz"  # above the largest process id of Linux
        left.mkdir()
        with on_disk(file):
            assert not left.exists()
            assert copy.exists()


def test_a_copy_without_room_says_so(file: StoredFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(StorageError, match=r"it has 100,000 bytes, and .* has room for 10"), on_disk(file):
        pass
