"""Files that appear whole or not at all, and the folder for what can be made again.

Invariant: a file is written beside its place, flushed and renamed; a kill leaves the old file or the new one, and no
reader sees a part. Cost: one flush to the disk a file.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import glob
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from neurolocal.errors import NeurolocalError, first_line
from neurolocal.progress import Bar

log = logging.getLogger(__name__)

HASHING: dict[str, Any] = {"desc": "hashing", "unit": "B", "unit_scale": True, "delay": 2, "leave": False}
"""How the bar of a SHA-256 looks; it shows itself after two seconds."""

CACHE_TODO = "Set NEUROLOCAL_CACHE to a folder that can be written."


def cache_folder(*parts: str) -> Path:
    """A folder of the cache, made if it does not exist: dequantised weights, translated paths, hashes.

    The cache is `$NEUROLOCAL_CACHE`, or `neurolocal` under `$XDG_CACHE_HOME`, or under `~/.cache`; where that cannot be
    written (a container, a user without a home), a folder of the user's among the temporary files, which is said once.
    Deleting it costs time, never a result.

    Raises:
        NeurolocalError: `$NEUROLOCAL_CACHE` cannot be written, or there is no place for a cache at all.
    """
    folder = _cache_root().joinpath(*parts)
    with _one_line(folder, "making the cache folder", CACHE_TODO, NeurolocalError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cache_root() -> Path:
    chosen = os.environ.get("NEUROLOCAL_CACHE")
    if chosen:
        return Path(chosen)
    try:
        usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "neurolocal")
    except RuntimeError:  # no home
        return _temporary_cache("there is no home folder")
    try:
        usual.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return _temporary_cache(f"{usual}: {error.strerror}")
    return usual if os.access(usual, os.W_OK) else _temporary_cache(f"{usual} cannot be written")


@functools.cache
def _temporary_cache(why: str) -> Path:
    """A folder of this user's alone among the temporary files; one line says so, once a process."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folder = Path(tempfile.gettempdir(), f"neurolocal-{user}")
    with _one_line(folder, "making the cache folder", CACHE_TODO, NeurolocalError):
        folder.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            raise OSError(errno.EPERM, "it belongs to another user")
    log.warning("the cache is %s, since %s; set NEUROLOCAL_CACHE to keep it elsewhere", folder, why)
    return folder


@functools.cache
def numba_cache() -> None:
    """Let numba, before it is imported, keep compiled kernels in the cache where the package is installed read-only."""
    if not os.access(Path(__file__).parent, os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_folder("numba")))


@contextlib.contextmanager
def replacing(
    path: Path,
    *,
    doing: str = "writing",
    todo: str = "Make the folder, or choose a path that can be written to.",
    error: type[NeurolocalError] = NeurolocalError,
    durable: bool = True,
) -> Generator[Path, None, None]:
    """A path beside `path` to write a file at; it takes the place of `path` when the block ends without an error.

    With `durable`, what killed processes of this machine left beside `path` is removed first; a folder of many files
    is better cleaned once, by `remove_leftovers`.

    Args:
        path: the file to write or replace; its folder must exist.
        doing: how the message of an error begins.
        todo: how it ends: what the user can do next.
        error: the type of the error.
        durable: whether to flush the file and its folder to the disk. Without it a crash of the machine may lose the
            file, a crash of the program may not.

    Raises:
        NeurolocalError: the disk is full, or the folder cannot be written to. What was there is untouched, and nothing
            is left beside it.
    """
    beside, there = _beside(path), True
    try:
        with _one_line(path, doing, todo, error):
            if durable:
                _remove_leftovers(path)
            yield beside
            if durable:
                with beside.open("r+b") as file:  # Windows flushes only what may be written
                    os.fsync(file.fileno())
            beside.replace(path)
            there = False
        if durable:
            flush_folder(path.parent)
    finally:
        if there:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)


@contextlib.contextmanager
def appearing(folder: Path, last: str) -> Generator[Path, None, None]:
    """A folder beside `folder` that takes its name at the end; a faster process's, known by its file `last`, stays."""
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name[:12]}-", dir=folder.parent))
    try:
        yield beside
        try:
            os.rename(beside, folder)  # noqa: PTH104  another process may have been faster: then this raises
        except OSError:
            if not (folder / last).is_file():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def require_place(path: Path, *, doing: str, error: type[NeurolocalError] = NeurolocalError) -> None:
    """Refuse a path at which no file can be written, before the work whose result it is to hold; nothing is left there.

    Folders on the way that do not exist are made later, so they need not exist now.

    Args:
        path: the file to write or replace.
        doing: how the message begins.
        error: the type of the error.

    Raises:
        NeurolocalError: a part of the path is no folder, cannot be written, or is too long; or the path is a folder.
    """
    todo = "Choose a path that can be written to."
    readable_path(path, error=error)
    with _one_line(path, doing, todo, error):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file")
        there = path.absolute().parent
        while not there.exists():
            there = there.parent
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{there} is a file, not a folder")
        _remove_leftovers(there / path.name)
        probe = _beside(there / path.name, "try-")
        try:
            probe.touch()
        finally:
            probe.unlink(missing_ok=True)


def readable_path(
    text: str | os.PathLike[str],
    *,
    doing: str = "looking at the path",
    error: type[NeurolocalError] = NeurolocalError,
) -> Path:
    """A path that the system can look at, whether or not anything is there; `doing` begins the message.

    Raises:
        NeurolocalError: it is too long, holds a null character, or lies in a folder without permission.
    """
    path = Path(text)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as problem:
        said = getattr(problem, "strerror", None) or first_line(problem)
        raise error(f"{doing} {str(path)[:80]}…: {said}. Give another path.") from problem
    return path


@contextlib.contextmanager
def locked(
    path: Path, *, doing: str, error: type[NeurolocalError] = NeurolocalError, say: Callable[[str], None] | None = None
) -> Generator[None, None, None]:
    """Hold the right to write a file, which one process has at a time.

    The lock is a file beside it, `.NAME.lock`, which stays as long as the file does. The system frees it when its
    process ends, however it ends; where the file system has no such locks, `filelock` finds locks of dead processes by
    their host and number. A process may hold it several times.

    Args:
        path: the file; it need not exist.
        doing: how the message begins.
        error: the type of the error.
        say: receives one line if another process has the right, which is then waited for; None raises instead.

    Raises:
        NeurolocalError: another process has the right, or the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    beside = path.resolve().with_name(f".{path.name[:100]}.lock")
    holder = beside.with_suffix(".holder")
    lock = FileLock(beside, is_singleton=True, thread_local=False)
    todo = "Make the folder, or choose a path that can be written to."
    with _one_line(path, doing, todo, error):
        if not path.parent.is_dir():  # filelock would make one
            raise error(f"{doing} {path}: there is no folder {path.parent}. {todo}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = f"{path} is being written by {_holder(holder)}"
            if say is None:
                raise error(f"{doing} {path}: {who}. Wait until it has ended, or give another path.") from None
            say(f"waiting: {who}")
            lock.acquire()
    try:
        if lock.lock_counter == 1:
            with contextlib.suppress(OSError):
                command = " ".join(sys.argv)[:200]
                holder.write_text(json.dumps({"pid": os.getpid(), "host": platform.node(), "command": command}))
        yield
    finally:
        if lock.lock_counter == 1:
            with contextlib.suppress(OSError):
                holder.unlink()
                if not path.exists():  # nothing was written, so nothing is left
                    beside.unlink()
        lock.release()


def _holder(path: Path) -> str:
    """Who holds a lock, in words."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return f"process {found['pid']} on {found['host']} ({found['command']})"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"


def write_text(path: Path, text: str, **how: Any) -> None:
    """Write UTF-8 text, whole or not at all; further arguments as of `replacing`.

    Raises:
        NeurolocalError: as of `replacing`.
    """
    with replacing(Path(path), **how) as beside:
        beside.write_bytes(text.encode())


@contextlib.contextmanager
def _one_line(path: Path, doing: str, todo: str, kind: type[NeurolocalError]) -> Generator[None, None, None]:
    """Turn what the system says of a failed write into one line that says what to do. HDF5 raises RuntimeErrors."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        said = getattr(error, "strerror", None) or first_line(error)
        what = "the disk is full" if full else said
        free = f" {shutil.disk_usage(path.parent).free / 2**20:,.0f} MiB are free." if full else ""
        raise kind(f"{doing} {path}: {what}.{free} {todo}") from error


def append_line(path: Path, line: str, *, doing: str, todo: str, error: type[NeurolocalError]) -> None:
    """Append a line to a text file; a kill or a full disk may leave a part of it. Arguments as of `replacing`.

    Raises:
        NeurolocalError: the disk is full, or the file cannot be written to.
    """
    with _one_line(path, doing, todo, error), path.open("ab") as file:
        file.write(f"{line}\n".encode())


def remove_leftovers(folder: Path) -> None:
    """Remove what processes of this machine that no longer run left in a folder and those below it."""
    for left in folder.rglob(f".*.{_host()}-*.partial"):
        _remove_if_dead(left)


@functools.cache
def _host() -> str:
    """This machine's name as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9]", "", platform.node())[:40] or "host"


def _beside(path: Path, what: str = "") -> Path:
    """The name of this process's own file beside a path; `remove_leftovers` knows it."""
    return path.with_name(f".{path.name[:100]}.{_host()}-{what}{os.getpid()}.partial")


def _remove_leftovers(path: Path) -> None:
    """Remove what processes of this machine that no longer run left beside a path."""
    for left in path.parent.glob(f".{glob.escape(path.name[:100])}.{_host()}-*.partial"):
        _remove_if_dead(left)


@contextlib.contextmanager
def scratch_folder() -> Generator[Path, None, None]:
    """A folder of the cache for copies of files, deleted when the block ends; those that killed processes left, too.

    Raises:
        NeurolocalError: as of `cache_folder`.
    """
    root = cache_folder("scratch")
    for left in root.glob(f"{_host()}-*"):
        with contextlib.suppress(ValueError, IndexError):
            if not _runs(int(left.name.split("-")[1])):
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        prefix=f"{_host()}-{os.getpid()}-", dir=root, ignore_cleanup_errors=True
    ) as folder:  # fmt: skip
        yield Path(folder)


def _remove_if_dead(left: Path) -> None:
    """Remove a process's own file if the process no longer runs."""
    with contextlib.suppress(ValueError, OSError):
        pid = int(left.name.rpartition("-")[2].removesuffix(".partial"))
        if pid != os.getpid() and not _runs(pid):
            left.unlink()


def _runs(pid: int) -> bool:
    """Whether a process of that number exists on this machine; perhaps, where asking would end it (Windows)."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename in it lasts; where the file system cannot, do nothing."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Kept in the cache by path, size and times of change, so a large checkpoint is hashed once, not at every start. The
    time of modification can be set, as a copy in place does that keeps it; the time of change cannot.
    """
    facts = path.stat()
    identity = json.dumps([str(path.resolve()), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino])
    kept = cache_folder("sha256") / hashlib.sha256(identity.encode()).hexdigest()
    with contextlib.suppress(FileNotFoundError):
        return kept.read_text()
    digest = hashlib.sha256()
    with path.open("rb") as file, Bar(total=facts.st_size, **HASHING) as bar:
        while some := file.read(1 << 24):
            digest.update(some)
            bar.update(len(some))
    write_text(kept, digest.hexdigest())
    return digest.hexdigest()
