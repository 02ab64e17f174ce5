"""A command that halts itself before a chosen write, or is halted at a chosen time, so that a fault can strike it.

The process is forked from one that has imported the heavy packages; it runs `neurolocal`'s own `main`, with its output
in a file. Writes are what Python reports of itself (`sys.addaudithook`), below the folder of the attempt: a file is
opened for writing, renamed or removed, or a folder is made. What HDF5 and other libraries open themselves is not seen.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

CONTEXT = multiprocessing.get_context("fork")

WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
"""Events beside `open` that change a folder; their first argument is a path."""

NOT_COUNTED = ("cache", "home", "tmp")
"""Folders of the attempt whose writes are not counted: what is there can be made again."""


LARGE = (
    "gensim.models", "h5py", "llama_cpp", "matplotlib.figure", "numba", "pyarrow.parquet", "torch", "transformers",
    "neurolocal.cli.main", "neurolocal.collect.kernels", "neurolocal.pipeline.collect",
)  # fmt: skip
"""Modules that the commands use, and that take long to import."""


def preload() -> None:
    """Import what the commands use, so that each attempt starts at once. Nothing is computed before the fork."""
    for name in LARGE:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


class Running:
    """A command that was started in a folder."""

    def __init__(self, arguments: Sequence[str], folder: Path, *, log: Path, at_write: int | None = None) -> None:
        """Start it.

        Args:
            arguments: of the command line.
            folder: where; its writes are counted.
            log: receives what the command prints.
            at_write: the write before which it halts, from 1; None halts at none.
        """
        self.log, self.began = log, time.monotonic()
        self._counted = CONTEXT.Value("q", -1, lock=False)
        self._shift = CONTEXT.Value("d", 0.0, lock=False)
        self.process = CONTEXT.Process(
            target=_command, args=(tuple(arguments), folder, log, at_write, self._counted, self._shift)
        )
        self.process.start()

    @property
    def writes(self) -> int:
        """Writes so far; -1 until the command begins."""
        return self._counted.value

    @property
    def code(self) -> int | None:
        """The exit code; negative where a signal ended it."""
        return self.process.exitcode

    @property
    def said(self) -> str:
        """What it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def shift_clock(self, seconds: float) -> None:
        """Let the clock of the process jump."""
        self._shift.value += seconds

    def halted(self, seconds: float) -> bool:
        """Wait until it halts itself or has run for so many seconds, and halt it then; False where it ended before."""
        while self.writes < 0 and self.code is None:
            time.sleep(0.001)
        self.began = time.monotonic()
        while time.monotonic() - self.began < seconds:
            found = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                return found.si_code == os.CLD_STOPPED
            time.sleep(0.001)
        self.send(signal.SIGSTOP)
        found = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        return found is not None and found.si_code == os.CLD_STOPPED

    def go_on(self) -> None:
        """End the halt."""
        self.send(signal.SIGCONT)

    def send(self, number: int, *, children: bool = False) -> None:
        """Send a signal to the process, perhaps to its children as well."""
        if children:
            os.killpg(self._pid, number)
        else:
            os.kill(self._pid, number)

    def ended(self, seconds: float) -> bool:
        """Wait for its end; False, and it is killed, where it runs longer than that."""
        self.process.join(seconds)
        if self.process.exitcode is not None:
            return True
        self.send(signal.SIGKILL, children=True)
        self.process.join()
        return False

    def orphans(self, seconds: float) -> list[str]:
        """Processes of its group that still run so long after its end; they are killed. Gives their command lines."""
        until = time.monotonic() + seconds
        while (left := _group(self._pid)) and time.monotonic() < until:
            time.sleep(0.05)
        said = []
        for one in left:
            try:
                said.append(" ".join(one.cmdline())[:120])
                one.kill()
            except psutil.Error:
                pass
        return said

    @property
    def _pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid


def _group(number: int) -> list[psutil.Process]:
    """The living processes of a process group."""
    found = []
    for one in psutil.process_iter():
        try:
            if os.getpgid(one.pid) == number and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except (OSError, psutil.Error):
            pass
    return found


def _command(
    arguments: tuple[str, ...], folder: Path, log: Path, at_write: int | None, counted: Any, shift: Any
) -> None:  # fmt: skip
    """In the child: run the command."""
    os.setsid()
    to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(to, number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.chdir(folder)
    sys.argv = ["neurolocal", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _shift_clock(shift)
    watch_writes(folder, counted, at_write, signal.SIGSTOP)
    from neurolocal.cli.main import main

    main()


def _shift_clock(shift: Any) -> None:
    """Let `time.time` and `time.time_ns` show another time, by the seconds that the parent sets."""
    plain, plain_ns = time.time, time.time_ns
    time.time = lambda: plain() + shift.value
    time.time_ns = lambda: plain_ns() + int(shift.value * 1e9)


def watch_writes(folder: Path, counted: Any, at_write: int | None, number: int) -> None:
    """Count this process's writes below a folder from now on, and send it a signal before the one of that number."""
    counted.value = 0
    root = f"{folder}/"
    apart = tuple(f"{root}{name}/" for name in NOT_COUNTED)
    changing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def see(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = given
            if not (isinstance(flags, int) and flags & changing):
                return
        elif event in WRITES:
            path = given[0]
        else:
            return
        if isinstance(path, int):
            return
        absolute = os.path.join(root, os.fsdecode(path))  # noqa: PTH118
        if not absolute.startswith(root) or absolute.startswith(apart):
            return
        counted.value += 1
        if counted.value == at_write:
            os.kill(os.getpid(), number)

    sys.addaudithook(see)
