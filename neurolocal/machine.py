"""What the system says of this process: its cores and memory, since when it runs, and whether its parent still does.

Invariant: imports nothing heavy, since every command asks. Cost: two small reads of /proc at the start of a command, a
few more where the free memory is asked for.
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


def total_bytes() -> int | None:
    """The machine's memory; None where the system does not say (Windows)."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def free_bytes() -> int | None:
    """The memory that this process may still take, by the machine, its control group and its own limits.

    None where the system does not say.
    """
    left = _left_of_limits()
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        left.append(_kilobytes(Path("/proc/meminfo"), "MemAvailable"))
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        group = next(line[3:] for line in lines if line.startswith("0::"))
        left += left_of_group(Path("/sys/fs/cgroup"), group)
    return max(0, min(left)) if left else total_bytes()


def left_of_group(root: Path, group: str) -> list[int]:
    """The bytes that a control group (version 2) and those above it may still take, where they have a limit.

    Args:
        root: where control groups are mounted.
        group: its path below, as in /proc/self/cgroup.
    """
    left, place = list[int](), root / group.lstrip("/")
    while place != root.parent:
        with contextlib.suppress(OSError, ValueError, IndexError):
            most, now = ((place / name).read_text().strip() for name in ("memory.max", "memory.current"))
            if most != "max":
                stat = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
                left.append(int(most) - int(now) + int(stat.get("inactive_file", 0)))  # a cache of files is given up
        place = place.parent
    return left


def _left_of_limits() -> list[int]:
    """The bytes that `ulimit -v` and `ulimit -d` leave to this process."""
    left = list[int]()
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError, StopIteration):
        import resource

        for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            most = resource.getrlimit(limit)[0]
            if most != resource.RLIM_INFINITY:
                left.append(most - _kilobytes(Path("/proc/self/status"), used))
    return left


def _kilobytes(path: Path, name: str) -> int:
    """The bytes of a line `NAME: N kB` of a file of /proc."""
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def computes_in(dtype: str, *, flags: set[str] | None = None) -> bool:
    """Whether the processor has instructions for a number format; without them 16 bits are slower than float32.

    Args:
        dtype: `float32`, `bfloat16` or `float16`.
        flags: what the processor can do, in the names of /proc/cpuinfo; None asks the system. macOS and Windows do not
            say, and count as having none: there torch computes 16 bits by way of float32.
    """
    if dtype == "float32":
        return True
    if flags is None:
        flags = set()
        with contextlib.suppress(OSError):
            lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
            named = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
            flags = set(next(named, "").split())
    return not flags.isdisjoint({"bfloat16": _BFLOAT16, "float16": _FLOAT16}[dtype])


_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
_FLOAT16 = {"avx512_fp16", "amx_fp16", "asimdhp"}
"""Flags of x86 and of ARM."""


def offline() -> bool:
    """Whether the user forbids every network: NEUROLOCAL_OFFLINE is set to anything but 0."""
    return os.environ.get("NEUROLOCAL_OFFLINE", "0") not in ("", "0")


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
