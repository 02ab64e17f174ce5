"""Files at an address: which there are, and their bytes as a stream or as a copy on the disk.

Invariant: a file has the content that it had when it was listed, by its size and what the storage calls its content (an
ETag, a checksum, a time); this is compared after every block, so a change under a reader is an error, never a mixture.
Cost: `BLOCK` bytes of memory a file; one request for data and one for the facts a block.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from neurolocal.errors import StorageError
from neurolocal.files import scratch_folder
from neurolocal.storage.address import Address
from neurolocal.storage.calls import ShortAnswerError, filesystem, tried

BLOCK = 16 << 20
"""Most bytes that are asked for at once."""

FIRST_BLOCK = 1 << 18
"""Bytes that a stream asks for first; each block is twice as long as the one before, up to `BLOCK`."""

CONTENT = ("ETag", "etag", "md5Hash", "Content-MD5", "content_md5", "generation", "crc32c", "checksum")
"""Where storages state what names a file's content, the best first."""

TIME = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
"""Where they state when it was written."""

MAGIC = frozenset("*?[")
"""Characters of a pattern."""


@dataclass(frozen=True)
class StoredFile:
    """A file at an address, or a data set saved by `datasets` there, as it was when it was listed."""

    address: Address
    """Where it is."""
    relative: str
    """Its path below what was listed, with `/` between its parts."""
    size: int
    """Bytes."""
    content: str
    """What the storage calls its content: `ETag "9b2c…"`; empty where it says nothing."""
    inside: tuple[StoredFile, ...] = ()
    """The files of a saved data set, whose own path is `.`."""

    def __str__(self) -> str:
        return str(self.address)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.relative).name

    def is_dir(self) -> bool:
        """Whether it is a saved data set."""
        return bool(self.inside)

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Its bytes as a stream that can be read from any place."""
        assert mode == "rb"
        return io.BufferedReader(_Stream(self), 1 << 16)

    def block(self, begin: int, n: int) -> bytes:
        """Up to n bytes from a place on.

        Raises:
            StorageError: the storage does not answer, or the file has changed.
        """
        system, path = filesystem(self.address)
        end = min(begin + n, self.size)

        def fetch() -> bytes:
            try:
                found: bytes = system.cat_file(path, start=begin, end=end)
            except Exception:
                self.require_unchanged()
                raise
            self.require_unchanged()
            if len(found) != end - begin:
                raise ShortAnswerError(f"{len(found):,} bytes came of {end - begin:,}")
            return found

        return tried(f"reading {self}", fetch)

    def require_unchanged(self) -> None:
        """Refuse a file that is not the one that was listed; raises what the storage raises, too.

        Raises:
            StorageError: it has changed.
        """
        system, path = filesystem(self.address)
        facts = system.info(path)
        size, content = facts.get("size"), content_of(facts)
        if size != self.size or content != self.content:
            what = f"{self.size:,} to {size:,} bytes" if size != self.size else f"{self.content} to {content}"
            raise StorageError(
                f"reading {self}: it was changed on the storage while it was read, from {what}. What was collected is "
                "kept; the same command resumes if the text that was read so far is still the same."
            )

    def copy_to(self, path: Path) -> None:
        """Write its bytes, or the files of a data set below it, to the disk."""
        if self.inside:
            for one in self.inside:
                one.copy_to(path / one.relative)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for begin in range(0, self.size, BLOCK):
                file.write(self.block(begin, BLOCK))


class _Stream(io.RawIOBase):
    """The bytes of a stored file; one block is held."""

    def __init__(self, file: StoredFile) -> None:
        self._file, self._at, self._begin, self._block = file, 0, 0, b""
        self._n = FIRST_BLOCK

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        if self._at >= self._file.size:
            return 0
        if not self._begin <= self._at < self._begin + len(self._block):
            self._block = b""  # one is held, not two
            self._block, self._begin = self._file.block(self._at, self._n), self._at
            self._n = min(2 * self._n, BLOCK)
        found = memoryview(self._block)[self._at - self._begin :][: len(buffer)]
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def content_of(facts: Mapping[str, Any]) -> str:
    """What a storage's facts of a file call its content; empty where they say nothing."""
    return next((f"{name} {facts[name]}" for name in (*CONTENT, *TIME) if facts.get(name)), "")


def stored_files(address: Address) -> tuple[list[StoredFile], list[str]]:
    """The files at an address: of a pattern those that match, of a folder all below it, or one file.

    Returns:
        the files in the order of their paths, and paths that were left out as they lead elsewhere (`..`).

    Raises:
        StorageError: nothing is there, or the storage does not answer.
    """
    from fsspec.utils import glob_translate

    system, path = filesystem(address)
    doing = f"listing {address}"
    if MAGIC & set(address.path):
        parts = path.split("/")
        first = next(i for i, part in enumerate(parts) if MAGIC & set(part))
        root, depth = "/".join(parts[:first]), None if "**" in path else len(parts) - first
        pattern = re.compile(glob_translate(path))
        below = tried(doing, lambda: _below(system, root, depth))
        found = {name: facts for name, facts in below.items() if pattern.match(name)}
    else:
        facts = tried(doing, lambda: system.info(path))
        is_folder = facts["type"] == "directory"
        root = path if is_folder else system._parent(path)
        found = tried(doing, lambda: _below(system, root, None)) if is_folder else {path: facts}
    if not found:
        raise StorageError(f"{doing}: there is nothing at this address. Check it.")
    files, left, base = list[StoredFile](), list[str](), f"{root.rstrip('/')}/" if root else ""
    for name, facts in found.items():
        if facts.get("type") != "file":
            continue
        below = name.removeprefix(base)
        if _is_safe(below) and name.startswith(base):
            files.append(_stored(system, name, below, facts))
        else:
            left.append(below)
    return sorted(files, key=lambda file: PurePosixPath(file.relative).parts), sorted(left)


def _below(system: Any, root: str, depth: int | None) -> dict[str, Any]:
    """The facts of every file below a folder; fsspec's `find` and `glob` would omit folders that do not answer."""
    found, folders, seen = dict[str, Any](), [(root, 1)], {root}
    while folders:
        folder, level = folders.pop()
        for facts in system.ls(folder, detail=True):
            name = facts["name"].rstrip("/")
            if facts["type"] != "directory":
                found[facts["name"]] = facts
            elif name not in seen and level != depth:
                seen.add(name)
                folders.append((name, level + 1))
    return found


def _stored(system: Any, path: str, relative: str, facts: Mapping[str, Any]) -> StoredFile:
    protocol, _, rest = system.unstrip_protocol(path).partition("://")
    address = Address(protocol, rest)
    if facts.get("size") is None or not any(facts.get(name) for name in CONTENT):  # a listing may say less
        facts = tried(f"looking at {address}", lambda: system.info(path))
    if facts.get("size") is None:
        raise StorageError(f"looking at {address}: the storage does not state its size. Copy it to this machine.")
    return StoredFile(address, relative, int(facts["size"]), content_of(facts))


def _is_safe(relative: str) -> bool:
    """Whether a path from a listing stays below the folder to which it is copied, on every system."""
    parts = relative.split("/")
    return not ({"", ".", ".."} & set(parts) or "\\" in relative or "\0" in relative or ":" in parts[0])


@contextmanager
def on_disk(file: Path | StoredFile) -> Generator[Path, None, None]:
    """A file of this machine as it is; of a stored one a copy, which is deleted when the block ends.

    Raises:
        StorageError: there is no room for it, or as `StoredFile.block`.
    """
    if isinstance(file, Path):
        yield file
        return
    with scratch_folder() as folder:
        if (free := shutil.disk_usage(folder).free) < file.size:
            raise StorageError(
                f"copying {file}: it has {file.size:,} bytes, and {folder} has room for {free:,}. Make room, or set "
                "NEUROLOCAL_CACHE to a folder on a larger disk."
            )
        copy = folder / f"copy{PurePosixPath(file.name).suffix}"
        file.copy_to(copy)
        yield copy
