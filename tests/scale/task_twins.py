"""Workers of a dealer as threads of this process, with injected faults, in place of Ray."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from neurolocal.scale.pool import Answer

Fault = Callable[[int, str, tuple[Any, ...]], Any]
"""Called before a worker does something: a returned value is the answer; `DIE` is a death."""

DIE = object()


class TaskPool:
    """As `RayPool`. Workers that share a subject work one at a time: its hooks are no thread's own."""

    def __init__(self, make: Callable[[], Any], fault: Fault = lambda *_: None) -> None:
        self.make, self.fault, self.one = make, fault, threading.Lock()
        self.answers: SimpleQueue[tuple[int, Answer]] = SimpleQueue()
        self.workers: dict[int, tuple[int, Any]] = {}
        self.generation = 0

    def start(self, worker: int) -> None:
        self.generation += 1
        self.workers[worker] = self.generation, self.make()
        self.call(worker, "load")

    def call(self, worker: int, method: str, *arguments: Any) -> None:
        generation, made = self.workers[worker]

        def work() -> None:
            try:
                fault = self.fault(worker, method, arguments)
                if fault is DIE:
                    answer = Answer(worker, None, "its worker died (Test)", died=True)
                elif fault is not None:
                    answer = Answer(worker, fault)
                else:
                    with self.one:
                        answer = Answer(worker, getattr(made, method)(*arguments))
            except Exception as error:
                answer = Answer(worker, None, f"{type(error).__name__}: {error}")
            self.answers.put((generation, answer))

        threading.Thread(target=work, daemon=True).start()

    def wait(self, seconds: float) -> list[Answer]:
        ends, found = time.monotonic() + seconds, list[Answer]()
        while not found and (left := ends - time.monotonic()) > 0:
            try:
                generation, answer = self.answers.get(timeout=left)
            except Empty:
                break
            if self.workers[answer.worker][0] == generation:
                found.append(answer)
        return found
