"""Since when a command runs: from the start of its process, so that imports count.

Invariant: imports nothing heavy, since every command asks. Cost: two small reads of /proc at the start.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_began: float | None = None


def begin_command() -> None:
    """Note that this process is a command; called once, by the command line."""
    global _began
    _began = time.monotonic() - _age()


def command_began(otherwise: float) -> float:
    """When the command began, on the clock of `time.monotonic`; `otherwise` where this process is no command."""
    return otherwise if _began is None else _began


def _age() -> float:
    """Seconds since this process began; 0 where the system does not say (no /proc)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])  # since the machine started
        up = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, up - ticks / os.sysconf("SC_CLK_TCK"))
    return 0.0
