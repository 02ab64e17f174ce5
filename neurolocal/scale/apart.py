"""A process of its own that works on text, for a worker with a GPU.

The loop that drives a GPU is Python, and must not wait for another thread's Python; reading and packing text is that.
Invariant: the process ends when its parent does, however that ended.
Cost: a process with a copy of the tokenizer, which is sent with every call.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from neurolocal.machine import end_with_parent


class Apart:
    """The process; it is started when it is first needed."""

    def __init__(self) -> None:
        """None is started yet."""
        self._pool: ProcessPoolExecutor | None = None

    def do(self, work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a function of a module there; gives what it returns or raises."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin)
        try:
            return self._pool.submit(work, *arguments, **named).result()
        except BrokenProcessPool:  # it was killed; the next call starts another one
            self.end()
            raise

    def end(self) -> None:
        """End it."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _begin() -> None:
    """What the process does first. Signals are the parent's to obey."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # groups are tokenised in threads
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()
