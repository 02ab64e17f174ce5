"""What the system says of this process: its cores, since when it runs, and whether its parent still does.

Invariant: imports nothing heavy, since every command asks. Cost: two small reads of /proc at the start of a command.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator
from pathlib import Path

_began: float | None = None


_share: int | None = None


def cores() -> int:
    """Cores that this process may use; macOS and Windows do not say, and have them all."""
    return _share or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def use_cores(n: int) -> None:
    """Let this process use so many cores, since others beside it have the rest."""
    global _share
    _share = n


def begin_command() -> None:
    """Note that this process is a command; called once, by the command line."""
    global _began
    _began = time.monotonic() - _age()


def command_began(otherwise: float) -> float:
    """When the process of the command began, by `time.monotonic`; `otherwise` where this process is no command."""
    return otherwise if _began is None else _began


def end_with_parent() -> None:
    """Let this process, which multiprocessing started, end when its parent has ended, however it did.

    The processes of an executor would wait for work for ever if their parent were killed. Ctrl-C, which reaches all
    processes, is left to the parent.
    """
    import multiprocessing
    import signal
    import threading
    from multiprocessing.connection import wait

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def end() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


@contextlib.contextmanager
def without_interrupts() -> Generator[None, None, None]:
    """Block SIGINT in this thread, and in the processes that it starts: they inherit that, so Ctrl-C ends none."""
    import signal
    from multiprocessing import resource_tracker

    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing's own process; its start would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _age() -> float:
    """Seconds since this process began; 0 where the system does not say (no /proc)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])  # since the machine started
        up = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, up - ticks / os.sysconf("SC_CLK_TCK"))
    return 0.0
