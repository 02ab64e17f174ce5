"""Workers as threads of this process, with injected faults, in place of Ray."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from neurolocal.scale.pool import Answer

Fault = Callable[[int, str, tuple[Any, ...]], Any]
"""Called before a worker does something: a returned value is the answer; `DIE` is a death."""

DIE = object()

NEVER = 1e9
"""`slow`, where tasks are counted: on a busy machine any thread may take many times the median."""


class ThreadPool:
    """As `RayPool`. Workers that share a subject work one at a time: its hooks are no thread's own."""

    one = threading.Lock()

    def __init__(self, make: Callable[[], Any], fault: Fault = lambda *_: None) -> None:
        self.make, self.fault = make, fault
        self.answers: SimpleQueue[tuple[int, Answer]] = SimpleQueue()
        self.workers: dict[int, tuple[int, Any]] = {}
        self.generation = 0

    def start(self, worker: int) -> None:
        self.generation += 1
        self.workers[worker] = self.generation, self.make()
        self.call(worker, "load")

    def drop(self, worker: int) -> None:
        self.workers.pop(worker, None)

    def call(self, worker: int, method: str, *arguments: Any, **named: Any) -> None:
        self._begin(worker, self.one, False, method, *arguments, **named)

    def read(self, worker: int, method: str, *arguments: Any) -> None:
        self._begin(worker, contextlib.nullcontext(), True, method, *arguments)

    def _begin(self, worker: int, alone: Any, reading: bool, method: str, *arguments: Any, **named: Any) -> None:
        generation, made = self.workers[worker]

        def work() -> None:
            try:
                fault = self.fault(worker, method, arguments)
                if fault is DIE:
                    answer = Answer(worker, None, "its worker died (Test)", died=True, reading=reading)
                elif fault is not None:
                    answer = Answer(worker, fault, reading=reading)
                else:
                    with alone:
                        answer = Answer(worker, getattr(made, method)(*arguments, **named), reading=reading)
            except Exception as error:
                answer = Answer(worker, None, f"{type(error).__name__}: {error}", reading=reading)
            self.answers.put((generation, answer))

        threading.Thread(target=work, daemon=True).start()

    def wait(self, seconds: float) -> list[Answer]:
        ends, found = time.monotonic() + seconds, list[Answer]()
        while not found and (left := ends - time.monotonic()) > 0:
            try:
                generation, answer = self.answers.get(timeout=left)
            except Empty:
                break
            if self.workers.get(answer.worker, (0,))[0] == generation:
                found.append(answer)
        return found

    def batches(self) -> dict[int, int]:
        return {worker: made.batches() for worker, (_, made) in self.workers.items()}

    def stop(self, worker: int) -> None:
        if worker in self.workers:
            self.workers[worker][1].stop()
