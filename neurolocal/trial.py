"""A file that a foreign library will read is first read by that library in a process of its own, once for each content.

The libraries are written in C++ and Rust; a damaged or hostile file may end the process that reads it, which cannot be
caught, and takes the run's work along. Invariant: a file on which the trial's process ends is refused; what the library
refuses by itself is left to the real reading, which says it better.
Cost: one reading more for each content and version of the library, and a process for each program and memory limit.
"""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from neurolocal.bounded import Bounded, LimitError
from neurolocal.errors import NeurolocalError
from neurolocal.files import cache_folder, file_sha256

SECONDS = 300.0
"""Seconds that a reading may take, for each `LARGE` bytes of the file."""

LARGE = 4 << 30
"""A slow disk gives so many bytes in that time: an LLM is read whole."""

MEMORY = 4 << 30
"""Bytes that a reading may take, files that are mapped included."""

MAPPED = 1 << 46
"""Bytes for weights, which are mapped however large they are: far more than any file has."""


def require_harmless(
    path: Path, program: Path, *, package: str, error: type[NeurolocalError], memory: int = MEMORY
) -> None:
    """Refuse a file on which the library crashes, or takes too much time or memory.

    Args:
        path: of the file.
        program: the Python file whose `answer` reads `[package, path]`; see `bounded.Bounded`.
        package: the library, as its distribution is named.
        error: the type of the refusal.
        memory: bytes that the reading may take.

    Raises:
        NeurolocalError: of the type `error`; says why.
    """
    try:
        mark = cache_folder("tried") / f"{package}-{version(package)}-{file_sha256(path)}"
    except (OSError, PackageNotFoundError):  # the same
        return
    if not mark.exists() and try_reading(path, program, package=package, error=error, memory=memory):
        mark.touch()


def try_reading(
    path: Path, program: Path, *, package: str, error: type[NeurolocalError], memory: int = MEMORY, name: str = ""
) -> bool:
    """The same, whether or not the content was read before; False where the library refuses it by itself.

    `name` is what the message calls the file, where that is not its path.

    Raises:
        NeurolocalError: of the type `error`; says why.
    """
    try:
        _process(program, memory, SECONDS * (1 + path.stat().st_size // LARGE)).ask([package, str(path)])
    except (OSError, ValueError):  # the real reading says what is wrong
        return False
    except LimitError as limit:
        raise error(
            f"reading {name or path}: the package {package} cannot read it in a process of its own: {limit}. The file "
            "is damaged or hostile; get it from its source again."
        ) from limit
    return True


@functools.cache
def _process(program: Path, memory: int, seconds: float) -> Bounded:
    """The process of a program, started at the first file."""
    return Bounded(program, seconds=seconds, memory=memory)
