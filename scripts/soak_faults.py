"""The faults of soak.py: one strikes while a command is halted, and is undone when the command has ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from soak_process import Running

ROOM = 192 << 20
"""Bytes of the file system of an attempt."""


@dataclass
class Scene:
    """Where a fault strikes."""

    folder: Path
    """The folder of the attempt, a file system of its own in memory."""
    store: Path | None
    """The store that the command reads or writes."""
    other: Path
    """A store of something else."""
    running: Running
    """The command, halted."""
    rng: np.random.Generator


Fault = Callable[[Scene], contextlib.AbstractContextManager[None]]
"""Strikes at the start of its block; at the end of it, the command has ended and what was done to it is undone."""


@contextlib.contextmanager
def kill(scene: Scene) -> Generator[None, None, None]:
    """SIGKILL, to the process alone or to its children, too."""
    scene.running.send(signal.SIGKILL, children=bool(scene.rng.integers(2)))
    yield


@contextlib.contextmanager
def term(scene: Scene) -> Generator[None, None, None]:
    """SIGTERM, as a batch system sends it."""
    scene.running.send(signal.SIGTERM)
    yield


@contextlib.contextmanager
def interrupt(scene: Scene) -> Generator[None, None, None]:
    """SIGINT to all processes, as Ctrl-C in a terminal; perhaps twice."""
    scene.running.send(signal.SIGINT, children=True)
    scene.running.go_on()
    if scene.rng.integers(2):
        time.sleep(float(scene.rng.uniform(0, 0.3)))
        with contextlib.suppress(ProcessLookupError):
            scene.running.send(signal.SIGINT, children=True)
    yield


@contextlib.contextmanager
def pause(scene: Scene) -> Generator[None, None, None]:
    """The command stands still for up to 2 seconds (SIGSTOP, SIGCONT)."""
    time.sleep(float(scene.rng.uniform(0.2, 2)))
    yield


@contextlib.contextmanager
def clock(scene: Scene) -> Generator[None, None, None]:
    """The clock jumps by up to a year, and the times of all files are where it was before or is after."""
    by = float(scene.rng.choice([-1, 1]) * 10 ** scene.rng.uniform(1, 7.5))
    scene.running.shift_clock(by)
    for path in scene.folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (time.time() + by, time.time() + by))
    yield


@contextlib.contextmanager
def readonly(scene: Scene) -> Generator[None, None, None]:
    """Nothing can be made, renamed or removed in the folder and those below it."""
    folders = [scene.folder, *(path for path in scene.folder.rglob("*") if path.is_dir())]
    _attribute("+i", folders)
    try:
        yield
    finally:
        _attribute("-i", folders)


@contextlib.contextmanager
def full(scene: Scene) -> Generator[None, None, None]:
    """The disk is full, or has a few kB left."""
    free = int(scene.rng.choice([0, 4, 16, 64, 256])) << 10
    _resize(scene.folder, used_bytes(scene.folder) + free)
    try:
        yield
    finally:
        _resize(scene.folder, ROOM)


@contextlib.contextmanager
def copied(scene: Scene) -> Generator[None, None, None]:
    """Another process puts a copy of the store in its place."""
    if scene.store is not None and scene.store.exists():
        _put(scene.store, scene.store)
    yield


@contextlib.contextmanager
def truncated(scene: Scene) -> Generator[None, None, None]:
    """Another process cuts the store short, in place; afterwards the user puts back a copy."""
    with _given_back(scene) as store:
        if store is not None:
            os.truncate(store, int(scene.rng.uniform(0, 1) * store.stat().st_size))
        yield


@contextlib.contextmanager
def swapped(scene: Scene) -> Generator[None, None, None]:
    """Another process puts a store of something else in its place; afterwards the user puts back a copy."""
    with _given_back(scene) as store:
        if store is not None:
            _put(scene.other, store)
        yield


FAULTS: dict[str, Fault] = {
    "kill": kill,
    "term": term,
    "interrupt": interrupt,
    "pause": pause,
    "clock": clock,
    "readonly": readonly,
    "full": full,
    "copied": copied,
    "truncated": truncated,
    "swapped": swapped,
}
"""By the names of the options; `twin`, the same command a second time, is not something that strikes a halted one."""

HARMLESS = {"pause", "clock", "copied"}
"""Faults which a command must survive."""


@contextlib.contextmanager
def _given_back(scene: Scene) -> Generator[Path | None, None, None]:
    """The store, of which a copy is put back at the end; None where there is none yet."""
    store = scene.store if scene.store is not None and scene.store.exists() else None
    kept = scene.other.with_name("kept.h5")
    if store is not None:
        shutil.copy2(store, kept)
    try:
        yield store
    finally:
        if store is not None:
            _put(kept, store)


def _put(source: Path, to: Path) -> None:
    """Copy a file beside a place and rename it."""
    beside = to.with_name(f".{to.name}.put")
    shutil.copy2(source, beside)
    beside.replace(to)


def _attribute(change: str, folders: list[Path]) -> None:
    there = [str(path) for path in folders if path.is_dir()]
    subprocess.run(["chattr", change, *there], check=True, capture_output=True)


@contextlib.contextmanager
def file_system(folder: Path) -> Generator[None, None, None]:
    """An empty file system in memory, mounted at a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def used_bytes(folder: Path) -> int:
    """Bytes in use of the file system."""
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _resize(folder: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True, capture_output=True)
