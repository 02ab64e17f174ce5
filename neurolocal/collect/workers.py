"""Threads that share a layer's neurons with the thread that runs the model.

Invariant: every part is done when `run` returns.
Cost: one thread wake-up a part. A part is shorter than a scheduler's time slice, so a helper that is woken on the
caller's own core would wait until the caller has done its part. Where the system has `sched_setaffinity`, helpers are
bound to the other cores.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType


class Workers:
    """The calling thread and n - 1 helpers; a context manager."""

    def __init__(self, n: int) -> None:
        """A helper thread is started when it is first needed."""
        self.n, self._ids, self._away_from = max(1, n), list[int](), -1
        self._pool = ThreadPoolExecutor(max(1, n - 1), initializer=lambda: self._ids.append(threading.get_native_id()))
        self._allowed: set[int] = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._current_core: Callable[[], int] | None = None
        if len(self._allowed) > 1:
            with contextlib.suppress(OSError, AttributeError):
                self._current_core = ctypes.CDLL(None).sched_getcpu

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def run(self, work: Callable[[int, int], None], parts: Sequence[tuple[int, int]]) -> None:
        """Do each part, the first on the calling thread."""
        if len(parts) > 1:
            self._keep_off()
        others = [self._pool.submit(work, *part) for part in parts[1:]]
        work(*parts[0])
        for other in others:
            other.result()

    def _keep_off(self) -> None:
        """Bind the helpers to every core but the one that this thread is on now."""
        if self._current_core is None:
            return
        core = self._current_core()
        if core != self._away_from and self._ids:
            self._away_from = core if len(self._ids) == self.n - 1 else -1  # until all are bound
            with contextlib.suppress(OSError):
                for one in self._ids:
                    os.sched_setaffinity(one, self._allowed - {core})
