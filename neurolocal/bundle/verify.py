"""Check a bundle of neurolocal, put it together from its volumes, and print the commands that install and run from it.

    python3 verify.py [FOLDER] [--manifest-sha256 HEX]

This file is copied into each bundle and needs Python 3.8 alone, no package. Invariants: nothing of the bundle is run or
unpacked; nothing outside the folder is read or written; a file takes its place only after its SHA-256 is right.
Cost: each byte is read once, written once where volumes are joined; memory is a few MB and the manifest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import stat
import sys
import sysconfig
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FORMAT = "neurolocal-bundle"
VERSION = 1
MANIFEST = "manifest.json"
PROGRAM = "verify.py"
LARGEST_MANIFEST = 1 << 24
"""Bytes of a manifest: some 300 a file."""
MOST_FILES = 50_000
LARGEST_FILE = 1 << 44
CHUNK = 1 << 22

PATH_PART = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff/\\:*?\"<>|]{1,200}")
SHA256 = re.compile(r"[0-9a-f]{64}")
PYTHON = re.compile(r"3\.[0-9]{1,2}")
REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}(\[[A-Za-z0-9,_-]{0,100}\])?==[A-Za-z0-9.+!]{1,60}")
PLATFORM = re.compile(r"[A-Za-z0-9_.]{1,60}")
DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{i}" for name in ("com", "lpt") for i in range(10))}


class BundleError(Exception):
    """What is wrong with a bundle, in one line."""


def verify(folder: Path, manifest_sha256: str | None = None, say: Callable[[str], object] = print) -> dict[str, Any]:
    """Check everything, joining volumes first where files are missing; gives the manifest.

    Raises:
        BundleError: something is missing, damaged, not listed, or no bundle.
    """
    manifest = read_manifest(folder, manifest_sha256)
    check_entries(folder, manifest)
    missing = [entry for entry in manifest["files"] if not os.path.lexists(folder / entry["path"])]
    if missing:
        if not manifest["volumes"]:
            raise BundleError(
                f"{folder}: {missing[0]['path']} is missing ({len(missing)} files in all). Copy it again."
            )
        join(folder, manifest, missing, say)
    fresh = {entry["path"] for entry in missing}
    for number, entry in enumerate(manifest["files"]):
        if entry["path"] not in fresh:
            check_file(folder, entry)
        progress(number + 1, len(manifest["files"]), "checked")
    return manifest


def read_manifest(folder: Path, manifest_sha256: str | None = None) -> dict[str, Any]:
    """The manifest of a bundle, every field checked.

    Raises:
        BundleError: there is none, it is too large, or a field is missing, of another type or out of bounds.
    """
    path = folder / MANIFEST
    data = _bytes(path)
    found = hashlib.sha256(data).hexdigest()
    if manifest_sha256 is not None and manifest_sha256.lower() != found:
        raise BundleError(f"{path}: its SHA-256 is {found}; expected {manifest_sha256}. This is another bundle.")
    try:
        manifest = json.loads(data.decode("utf-8"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: no JSON as expected ({_short(error)}). Copy it again.") from error
    try:
        check_manifest(manifest)
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"{path}: {what}. It must be the manifest that `neurolocal bundle make` wrote.") from error
    manifest["sha256"] = found
    return manifest


def _bytes(path: Path) -> bytes:
    try:
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode):
            raise BundleError(f"{path}: it is a link or no file. Copy the bundle again.")
        if facts.st_size > LARGEST_MANIFEST:
            raise BundleError(f"{path}: {facts.st_size:,} bytes; a manifest has at most {LARGEST_MANIFEST:,}.")
        with path.open("rb") as file:
            return file.read(LARGEST_MANIFEST + 1)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}. Give the folder of a bundle.") from error


def _object(pairs: list[Any]) -> dict[str, Any]:
    """A JSON object in which no name occurs twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name that occurs twice in one object")
    return found


def check_manifest(manifest: Any) -> None:
    """Check every field of a manifest.

    Raises:
        KeyError: a field is missing.
        TypeError: a field is of another type.
        ValueError: a field is out of bounds.
    """
    _require(isinstance(manifest, dict), "it is no object")
    _require(manifest["format"] == FORMAT, f"format is not {FORMAT}")
    _require(manifest["version"] == VERSION, f"its version is not {VERSION}; use the verify.py beside it")
    files, volumes = manifest["files"], manifest["volumes"]
    _require(isinstance(files, list) and isinstance(volumes, list), "files or volumes is no list")
    _require(0 < len(files) <= MOST_FILES and len(volumes) <= MOST_FILES, f"no files, or more than {MOST_FILES:,}")
    for entry in files + volumes:
        _check_entry(entry)
    for entry in files:
        for name in ("section", "licence", "origin"):
            _require(isinstance(entry[name], str) and len(entry[name]) <= 2000, f"{name} of a file is no short text")
    for entry in volumes:
        _require(entry["path"].count("/") == 0 and entry["size"] > 0, "a volume in a folder, or an empty one")
    _check_paths([entry["path"] for entry in files + volumes])
    total = sum(entry["size"] for entry in files)
    _require(not volumes or total == sum(entry["size"] for entry in volumes), "volumes and files differ in size")
    _require(isinstance(manifest["verify_sha256"], str), "verify_sha256 is no text")
    for name, form in (("python", PYTHON), ("platform", PLATFORM), ("install", REQUIREMENT)):
        value = manifest[name]
        _require(value is None or (isinstance(value, str) and form.fullmatch(value)), f"{name} is {_short(value)}")
    _require(
        manifest["run"] is None or manifest["run"] in {entry["path"] for entry in files}, "run is not a file of it"
    )


def _check_entry(entry: Any) -> None:
    _require(isinstance(entry, dict), "a file that is no object")
    path, size, sha256 = entry["path"], entry["size"], entry["sha256"]
    check_path(path)
    _require(type(size) is int and 0 <= size <= LARGEST_FILE, f"the size of {_short(path)} is {_short(size)}")
    _require(isinstance(sha256, str) and SHA256.fullmatch(sha256), f"the SHA-256 of {_short(path)} is none")


def check_path(path: Any) -> None:
    """Check that a path stays in the folder and can be a file's on every system.

    Raises:
        ValueError: it is no such path.
    """
    _require(isinstance(path, str) and 0 < len(path) <= 1000, "a path that is no text of 1 to 1,000 characters")
    for part in path.split("/"):
        wrong = not PATH_PART.fullmatch(part) or part != part.strip(" ") or part.endswith(".")
        wrong = wrong or part.split(".")[0].casefold() in DEVICES
        _require(not wrong, f"the path {_short(path)} may lead out of the folder, or is not valid on every system")


def _check_paths(paths: list[str]) -> None:
    """No file twice, also where case does not count; none that is a folder of another; none that is the manifest."""
    seen = {MANIFEST, PROGRAM}
    for path in paths:
        key = _key(path)
        _require(key not in seen, f"the path {_short(path)} occurs twice, or is taken")
        seen.add(key)
    for path in paths:
        parts = _key(path).split("/")
        for i in range(1, len(parts)):
            _require("/".join(parts[:i]) not in seen, f"the path {_short(path)} is a file and a folder")


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _require(condition: object, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _short(value: object, limit: int = 120) -> str:
    """Text of a bundle in a message: one line, nothing that moves a cursor."""
    return ascii(str(value)[:limit])[1:-1]


def check_entries(folder: Path, manifest: dict[str, Any]) -> None:
    """Refuse links, devices, and files that the manifest does not list.

    Raises:
        BundleError: there is one.
    """
    listed = {entry["path"] for entry in manifest["files"] + manifest["volumes"]} | {MANIFEST, PROGRAM}
    more: list[str] = []
    waiting = [""]
    while waiting:
        at = waiting.pop()
        with os.scandir(folder / at) as entries:
            for entry in entries:
                path = at + entry.name
                if entry.is_symlink() or not (entry.is_dir(follow_symlinks=False) or entry.is_file()):
                    raise BundleError(f"{folder}: {_short(path)} is a link or no plain file. Remove it.")
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path + "/")
                elif path not in listed and not _left(folder, path, listed):
                    more.append(path)
    if more:
        names = ", ".join(map(_short, sorted(more)[:5]))
        raise BundleError(f"{folder}: {len(more)} files are not in the manifest ({names}). Remove them, or copy again.")
    program = folder / PROGRAM
    if os.path.lexists(program) and sha256_of(program) != manifest["verify_sha256"]:
        raise BundleError(f"{program}: it is not the one that the manifest names. Take it from the bundle's origin.")


def _left(folder: Path, path: str, listed: set[str]) -> bool:
    """Whether this is what a stopped join left of a listed file that is still missing; the next one removes it."""
    file = path[: -len(".partial")]
    return path.endswith(".partial") and file in listed and not os.path.lexists(folder / file)


def check_file(folder: Path, entry: dict[str, Any], *, content: bool = True) -> None:
    """Compare a file's or volume's size with the manifest, and its SHA-256 unless `content` is False.

    Raises:
        BundleError: they differ, or it cannot be read.
    """
    path = folder / entry["path"]
    try:
        size = path.lstat().st_size
        if size != entry["size"]:
            raise BundleError(f"{path}: {size:,} bytes; expected {entry['size']:,}. Copy it again.")
        found = sha256_of(path) if content else entry["sha256"]
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}. Copy it again.") from error
    if found != entry["sha256"]:
        raise BundleError(f"{path}: its SHA-256 is {found}; expected {entry['sha256']}. Copy it again.")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file that is no link, hexadecimal."""
    digest = hashlib.sha256()
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        for some in iter(lambda: file.read(CHUNK), b""):
            digest.update(some)
    return digest.hexdigest()


def join(
    folder: Path, manifest: dict[str, Any], missing: list[dict[str, Any]], say: Callable[[str], object] = print
) -> None:
    """Write the missing files out of the volumes, which are the files one after another, cut.

    Raises:
        BundleError: a volume is missing or damaged, or the disk is too small.
    """
    for volume in manifest["volumes"]:
        check_file(folder, volume, content=False)
    needed, free = sum(entry["size"] for entry in missing), shutil.disk_usage(folder).free
    if needed > free:
        raise BundleError(f"{folder}: joining takes {readable(needed)}; {readable(free)} are free. Use a larger disk.")
    say(f"joining {len(manifest['volumes'])} volumes: {len(missing)} files, {readable(needed)}")
    wanted, begin, done = {entry["path"] for entry in missing}, 0, 0
    for entry in manifest["files"]:
        if entry["path"] in wanted:
            _write(folder, entry, list(_parts(manifest["volumes"], begin, entry["size"])))
            done += 1
            progress(done, len(missing), "joined")
        begin += entry["size"]


def _write(folder: Path, entry: dict[str, Any], parts: list[Any]) -> None:
    """Write one file out of the parts of volumes that it consists of."""
    path = folder / entry["path"]
    beside = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # `check_entries` has seen no links
        if os.path.lexists(beside):
            beside.unlink()
        digest = hashlib.sha256()
        with beside.open("xb") as file:
            for some in _read(folder, parts):
                digest.update(some)
                file.write(some)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != entry["sha256"]:
            beside.unlink()
            raise BundleError(f"{path}: {_damaged(folder, parts)}")
        beside.replace(path)
    except OSError as error:
        raise BundleError(f"writing {path}: {error.strerror}. Use a folder that can be written to.") from error


def _parts(volumes: list[dict[str, Any]], begin: int, size: int) -> Iterator[Any]:
    """Where a stretch of the volumes' bytes lies: in each volume the first byte, and how many."""
    for volume in volumes:
        length = min(volume["size"] - begin, size)
        if length > 0:
            yield volume, begin, length
            size -= length
        begin = max(begin - volume["size"], 0)


def _read(folder: Path, parts: list[Any]) -> Iterator[bytes]:
    """The bytes of parts of volumes, in pieces."""
    for volume, begin, length in parts:
        with (folder / volume["path"]).open("rb") as file:
            file.seek(begin)
            while length and (some := file.read(min(CHUNK, length))):
                length -= len(some)
                yield some


def _damaged(folder: Path, parts: list[Any]) -> str:
    """Which of the volumes is damaged, in words."""
    for volume, _, _ in parts:
        if sha256_of(folder / volume["path"]) != volume["sha256"]:
            return f"{volume['path']} is damaged. Copy it again."
    return "its SHA-256 differs, while the volumes are as listed. Make the bundle again."


def progress(done: int, total: int, word: str) -> None:
    """A line that counts, on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{word} {done:,} of {total:,} files" + ("\n" if done == total else ""))
        sys.stderr.flush()


def readable(size: int) -> str:
    """Bytes for a person, in powers of ten."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"


def commands(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """The commands that install and run from a verified bundle; what it lacks is left out."""
    folder = folder.resolve()
    environment = folder.parent / "venv"
    python = shlex.quote(str(environment / "bin" / "python"))
    found = []
    if manifest["install"] is not None:
        install = f"{python} -m pip --isolated install --no-compile --no-index --find-links"
        wheels, what = shlex.quote(str(folder / "wheels")), shlex.quote(manifest["install"])
        made = f"python{manifest['python'] or '3'} -m venv {shlex.quote(str(environment))}"
        found.append(f"{made} && {install} {wheels} {what}")
    if manifest["run"] is not None:
        installed = shlex.quote(str(environment / "bin" / "neurolocal"))  # `-m` would take the folder that it runs in
        program = installed if manifest["install"] is not None else "neurolocal"
        found.append(f"{program} run {shlex.quote(str(folder / manifest['run']))}")
    return found


def notes(manifest: dict[str, Any]) -> list[str]:
    """What does not fit between the wheels of a bundle and this machine, in lines."""
    found, here, machine = [], sysconfig.get_platform(), platform.machine().lower()
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if manifest["python"] not in (None, python):
        found.append(f"note: the wheels are for Python {manifest['python']}; this is {python}")
    target = manifest["platform"]
    system = here.split("-")[0]  # `linux` is in the names manylinux and musllinux, too
    if target is not None and not (system in target.split("_")[0] and target.endswith((machine, "universal2"))):
        found.append(f"note: the wheels are for {target}; this machine is {here}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command line; gives the exit code."""
    parser = argparse.ArgumentParser(description="Check a bundle, print how to install and run from it.")
    here = Path(__file__).resolve().parent
    parser.add_argument(
        "folder", nargs="?", type=Path, default=here, help="folder of the bundle [default: this file's]"
    )
    parser.add_argument("--manifest-sha256", help="SHA-256 of manifest.json, as `bundle make` printed it")
    given = parser.parse_args(arguments)
    try:
        manifest = verify(given.folder, given.manifest_sha256)
    except (BundleError, OSError) as error:
        sys.stderr.write(f"error: {error if isinstance(error, BundleError) else _short(error)}\n")
        return 1
    print("\n".join(summary(given.folder, manifest)))
    return 0


def summary(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """What was checked and the commands, in lines."""
    size = sum(entry["size"] for entry in manifest["files"])
    lines = [f"{len(manifest['files'])} files, {readable(size)}: all as listed", f"manifest {manifest['sha256']}"]
    return lines + notes(manifest) + commands(folder, manifest)


if __name__ == "__main__":
    sys.exit(main())
