"""What code does beside its task: files outside a folder, processes, connections, pickles, code made from text.

Invariant: nothing is said while `watching` is not open; modules that are imported late are not counted. What libraries
written in C open by themselves is not seen by Python. Cost: a look at every event of the interpreter.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

READABLE = [
    *{os.path.realpath(one) for one in (sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]))},
    "/usr/lib",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/proc",
    "/sys",
    "/dev/null",
    "/dev/urandom",
    "/etc/localtime",
    "/etc/mime.types",
]
"""What may be read besides the folder: Python and its packages, the project, what describes the machine."""

MAKERS = (
    "/dataclasses.py",
    "/collections/__init__.py",
    "/inspect.py",
    "/typing.py",
    "/traceback.py",
    "/ast.py",
    "/linecache.py",
)
"""Modules of Python that make code of their own."""

WRITES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate")
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn")
CONNECTS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")


class Watch:
    """An audit hook that can be opened and closed; one a process, since hooks stay."""

    def __init__(self, folder: Path, *, starts: bool) -> None:
        self.folder, self.starts = os.path.realpath(folder), starts
        self.open, self.seen = False, list[str]()
        self._inside = threading.local()
        sys.addaudithook(self._hook)

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        """Watch in the block; what is seen is in `seen`."""
        self.seen.clear()
        self.open = True
        try:
            yield
        finally:
            self.open = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.open or getattr(self._inside, "busy", False):
            return
        self._inside.busy = True
        try:
            found = self._fault(event, arguments)
            if found and not _importing():
                self.seen.append(found)
        finally:
            self._inside.busy = False

    def _fault(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        if event == "open":
            path, mode, flags = arguments
            writes = (isinstance(mode, str) and any(letter in mode for letter in "wax+")) or (
                isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
            return None if self._allowed(path, bool(writes)) else f"{'writes' if writes else 'reads'} {path!r}"
        if event in WRITES:
            paths = [one for one in arguments[:2] if isinstance(one, (str, bytes, os.PathLike))]
            if event == "os.symlink":
                paths = paths[1:]
            outside = [path for path in paths if not self._allowed(path, True)]
            return f"{event} {outside[0]!r}" if outside else None
        if event in STARTS:
            return None if self.starts else f"{event} {str(arguments)[:200]}"
        if event in CONNECTS:
            return f"{event} {str(arguments[1:])[:200]}"
        if event == "pickle.find_class":
            return f"unpickles {arguments[0]}.{arguments[1]}"
        if event == "compile" and arguments[0] is not None:
            known = str(arguments[1]).startswith("/") and self._allowed(arguments[1], False)  # a template of ours
            return None if known else f"compiles {str(arguments[0])[:60]!r} as {str(arguments[1])[:60]!r}"
        return None

    def _allowed(self, path: Any, writes: bool) -> bool:
        if isinstance(path, int):
            return True
        try:
            real = os.path.realpath(os.fsdecode(path))
        except (TypeError, ValueError):  # a null byte: the system refuses it
            return True
        places = [self.folder, "/dev/null", *([] if writes else READABLE)]
        return any(real == place or real.startswith(place + os.sep) for place in places)


def _importing() -> bool:
    """Whether Python is importing a module, or making a class, in this thread."""
    frame: Any = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib") or name.endswith(MAKERS):
            return True
        frame = frame.f_back
    return False
