"""What the system says of this process: its cores, and since when it runs.

Invariant: imports nothing heavy, since every command asks. Cost: two small reads of /proc at the start of a command.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_began: float | None = None


def cores() -> int:
    """Cores that this process may use; macOS and Windows do not say, and have them all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def begin_command() -> None:
    """Note that this process is a command; called once, by the command line."""
    global _began
    _began = time.monotonic() - _age()


def command_began(otherwise: float) -> float:
    """When the process of the command began, by `time.monotonic`; `otherwise` where this process is no command."""
    return otherwise if _began is None else _began


def _age() -> float:
    """Seconds since this process began; 0 where the system does not say (no /proc)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])  # since the machine started
        up = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, up - ticks / os.sysconf("SC_CLK_TCK"))
    return 0.0
