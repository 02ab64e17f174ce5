"""Finished stores at an address: uploaded whole, with their SHA-256 beside them, and fetched back.

    part0.json               the store's file, size and SHA-256
    part0.3fa9c2d15b7e.h5    the store

Invariant: an upload is named by its content, so no two writers write one file, and what says that it counts is written
last. A store that is fetched is the one that was uploaded, or it is named as damaged.
Cost: a store is read once to hash it and once to send it; fetched, it takes its size on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neurolocal.errors import StorageError
from neurolocal.storage.address import Address
from neurolocal.storage.calls import ShortAnswerError, filesystem, tried
from neurolocal.storage.stored import BLOCK, StoredFile, stored_files

LONGEST_NOTE = 1 << 16
"""Most bytes of what stands beside a store."""

AGAIN = "Run the command that collected it again, with the same --upload."


class Upload(NamedTuple):
    """A store at an address."""

    note: StoredFile
    """What states it."""
    file: str
    """Name of the store's file, in the same folder."""
    size: int
    """Its bytes."""
    sha256: str
    """Of its bytes."""


def require_upload(folder: Path | Address, store: Path) -> None:
    """Refuse a folder that cannot be written to, before the work whose result it is to hold; nothing is left there.

    Raises:
        StorageError: it cannot be written to, or is one of this machine.
    """
    if isinstance(folder, Path):
        raise StorageError(
            f"uploading to {folder}: a path of this machine, and --upload takes an address, such as "
            "s3://bucket/run/. Give an address, or put the store there with --store."
        )
    system, path = filesystem(folder / f".{store.name}.probe")

    def probe() -> None:
        _make_folder(system, path)
        system.pipe_file(path, b"probe")
        system.rm_file(path)

    tried(f"writing to {folder}", probe)


def upload(store: Path, folder: Address) -> Address:
    """Copy a store into a folder at an address; gives where it is then.

    Raises:
        StorageError: the storage does not take it.
    """
    sha256 = _sha256(store)
    name, size = f"{store.stem}.{sha256[:12]}.h5", store.stat().st_size
    put(store, folder / name)
    note = json.dumps({"file": name, "bytes": size, "sha256": sha256}).encode()
    system, path = filesystem(folder / f"{store.stem}.json")
    tried(f"uploading {store} to {folder}", lambda: system.pipe_file(path, note))
    return folder / name


def put(file: Path, place: Address) -> None:
    """Copy a file to an address, in a folder that is made where the storage has folders.

    Raises:
        StorageError: the storage does not take it.
    """
    system, path = filesystem(place)
    size = file.stat().st_size

    def send() -> None:
        _make_folder(system, path)
        system.put_file(str(file), path)
        if (there := system.info(path)["size"]) != size:
            raise ShortAnswerError(f"{there:,} bytes are there of {size:,}")

    tried(f"uploading {file} to {place}", send)


def is_at(place: Address, *, size: int, sha256: str) -> bool:
    """Whether a file of this size and content is at an address; all of it is read.

    Raises:
        StorageError: the storage does not answer.
    """
    system, path = filesystem(place)
    if not tried(f"looking at {place}", lambda: bool(system.exists(path))):
        return False
    (found,), _ = stored_files(place)
    digest = hashlib.sha256()
    for begin in range(0, found.size if found.size == size else 0, BLOCK):
        digest.update(found.block(begin, BLOCK))
    return digest.hexdigest() == sha256


def get(place: Address, path: Path, *, size: int, sha256: str) -> None:
    """Copy a file from an address, and check it.

    Raises:
        StorageError: it is not there, or it is damaged, also when it is fetched once more; or there is no room.
    """
    if (free := shutil.disk_usage(path.parent).free) < size:
        raise StorageError(
            f"fetching {place}: it has {size:,} bytes, and {path.parent} has room for {free:,}. Make room."
        )
    (found,), _ = stored_files(place)
    for _ in range(2):
        if found.size != size:
            break
        found.copy_to(path)
        if _sha256(path) == sha256:
            return
    path.unlink(missing_ok=True)
    raise StorageError(f"fetching {place}: it is damaged: not the {size:,} bytes that were uploaded.")


def delete(place: Address) -> None:
    """Delete a file, or a folder with all that is in it; what cannot be deleted stays."""
    with contextlib.suppress(Exception):  # whatever the storage's library raises
        system, path = filesystem(place)
        system.rm(path, recursive=True)


def uploads(place: Address) -> list[Upload]:
    """The stores in a folder at an address, or the one that a `.json` there states.

    Raises:
        StorageError: there is none, or what stands beside one is damaged.
    """
    notes = [file for file in stored_files(place)[0] if file.name.endswith(".json")]
    if not notes:
        raise StorageError(
            f"reading {place}: no .json states a store there. Give the folder that --upload named, or a store's .json."
        )
    return [_upload(note) for note in notes]


def fetched(places: Sequence[Path | Address], folder: Path, *, say: Callable[[str], None]) -> list[Path]:
    """Stores of this machine as they are, and copies of those at addresses.

    Args:
        places: paths of stores, and addresses as of `uploads`.
        folder: receives the copies.
        say: receives a line for each copy.

    Raises:
        StorageError: as of `uploads` and `fetch`.
    """
    found: list[Path] = []
    for place in places:
        for store in [place] if isinstance(place, Path) else uploads(place):
            if isinstance(store, Upload):
                say(f"fetching {_beside(store.note, store.file)}, {store.size:,} bytes")
                (own := folder / str(len(found))).mkdir()  # two may have one name
                store = fetch(store, own)
            found.append(store)
    return found


def fetch(store: Upload, folder: Path) -> Path:
    """Copy a store from its address into a folder of this machine, and check it.

    Raises:
        StorageError: it is damaged, also when it is fetched once more; or there is no room.
    """
    where = f"fetching {_beside(store.note, store.file)}"
    found, _ = stored_files(_beside(store.note, store.file))
    if (free := shutil.disk_usage(folder).free) < store.size:
        raise StorageError(f"{where}: it has {store.size:,} bytes, and {folder} has room for {free:,}. Make room.")
    path, what = folder / f"{store.note.name.removesuffix('.json')}.h5", ""
    for _ in range(2):
        if found[0].size != store.size:
            what = f"it has {found[0].size:,} bytes of {store.size:,}"
            break
        found[0].copy_to(path)
        if (sha256 := _sha256(path)) == store.sha256:
            return path
        what = f"its SHA-256 is {sha256[:12]}…, and {store.sha256[:12]}… was recorded"
    path.unlink(missing_ok=True)
    raise StorageError(f"{where}: it is damaged ({what}). {AGAIN}")


def _make_folder(system: Any, path: str) -> None:
    """Make the folder of a file, on storages that have folders; never a bucket."""
    folder = system._parent(path)
    if "/" in folder.strip("/"):
        with contextlib.suppress(FileExistsError):
            system.mkdir(folder, create_parents=False)


def _upload(note: StoredFile) -> Upload:
    """What stands beside a store; it may be damaged or hostile."""
    text = note.block(0, min(LONGEST_NOTE, BLOCK)) if note.size <= LONGEST_NOTE else b""
    try:
        found = json.loads(text)
        file, size, sha256 = found["file"], found["bytes"], found["sha256"]
        if (
            re.fullmatch(r"[^/\\\0:]{1,250}\.h5", file)
            and re.fullmatch(r"[0-9a-f]{64}", sha256)
            and type(size) is int
            and size >= 0
        ):
            return Upload(note, file, size, sha256)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise StorageError(
        f"reading {note}: it states no store (file, bytes, sha256). It is damaged or another file. {AGAIN}"
    )


def _beside(note: StoredFile, name: str) -> Address:
    return Address(note.address.protocol, f"{note.address.path.rpartition('/')[0]}/{name}")


def _sha256(path: Path) -> str:
    """Of the bytes that a file has now; no cache is asked."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
