"""Foreign code, such as a model's chat template, in a process of its own under limits of time, memory and output.

The code is a Python file with a function `answer(question)` of plain JSON values; it imports nothing of this package.
Invariant: `ask` gives what the function returns, raises ValueError with what it raised, or raises `LimitError`; a
process over a limit is ended, and one whose parent was killed ends itself.
Cost: starting the process once (what its file imports), then one line of JSON each way for a question.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import runpy
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

START = 120.0
"""Seconds that the process may take to start."""

MEMORY = 512 << 20
"""Bytes of memory that the function may take, where the system can limit it (Linux)."""

LARGEST = 64 << 20
"""Bytes of an answer."""


class LimitError(Exception):
    """The code took more time or memory than it may, or gave too long an answer; says which."""


class Bounded:
    """A function in a process of its own, started at the first question; questions are asked one at a time."""

    def __init__(self, program: Path, *, seconds: float, memory: int = MEMORY, largest: int = LARGEST) -> None:
        """Name the function and its limits.

        Args:
            program: a Python file with a function `answer`.
            seconds: that an answer may take.
            memory: bytes that the function may take beside what its imports took.
            largest: bytes of an answer.
        """
        self._command = [sys.executable, "-P", str(Path(__file__)), str(program), str(seconds), str(memory)]
        self._command.append(str(largest))
        self._seconds, self._lock = seconds, threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def ask(self, question: Any) -> Any:
        """What the function returns for a question.

        Raises:
            ValueError: what the function raised, in one line.
            LimitError: a limit was exceeded; the next question starts a new process.
        """
        with self._lock:
            process = self._process or self._start()
            try:
                assert process.stdin is not None
                process.stdin.write(json.dumps(question, default=str).encode() + b"\n")
                process.stdin.flush()
            except OSError as error:
                raise self._end("its process ended") from error
            kind, value = self._read(self._seconds, f"it took more than {self._seconds:g} s")
        if kind == "error":
            raise ValueError(value)
        if kind == "limit":
            raise LimitError(value)
        return value

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._end("")

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._lines = queue.SimpleQueue()
        threading.Thread(target=_forward, args=(process.stdout, self._lines), daemon=True).start()
        weakref.finalize(self, process.kill)
        self._read(START, "its process did not start")
        return process

    def _read(self, seconds: float, late: str) -> tuple[str, Any]:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise self._end(late) from None
        if not line:
            raise self._end("its process ended")
        kind, value = json.loads(line)
        return kind, value

    def _end(self, why: str) -> LimitError:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        self._process = None
        return LimitError(why)


def _forward(stream: Any, lines: queue.SimpleQueue[bytes]) -> None:
    """Put each line of a pipe into a queue, and an empty one at its end."""
    with contextlib.suppress(OSError, ValueError):  # closed meanwhile
        for line in stream:
            lines.put(line)
    lines.put(b"")


def main(program: str, seconds: float, memory: int, largest: int) -> None:
    """The other side: answer each line of the standard input."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the code prints is no answer
    answer = runpy.run_path(program)["answer"]
    _limit_memory(memory)
    _send(out, "ready", None)
    for line in sys.stdin.buffer:
        if hasattr(signal, "setitimer"):  # it ends the process where the parent no longer can
            signal.setitimer(signal.ITIMER_REAL, seconds + 5)
        try:
            found = json.dumps(answer(json.loads(line)))
            kind, value = ("ok", found) if len(found) <= largest else ("limit", f"it wrote {len(found):,} bytes")
        except MemoryError:
            kind, value = "limit", f"it took more than {memory >> 20:,} MiB of memory"
        except BaseException as error:  # foreign code raises what it likes
            kind, value = "error", (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        _send(out, kind, json.loads(value) if kind == "ok" else value)


def _send(out: Any, kind: str, value: Any) -> None:
    out.write(json.dumps([kind, value]).encode() + b"\n")
    out.flush()


def _limit_memory(memory: int) -> None:
    """Allow so many bytes more than are taken now; other systems than Linux have no such limit that works."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
