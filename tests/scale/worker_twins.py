"""Workers as threads of this process, with injected faults: what the tests of the driver use in place of Ray."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from neurolocal.config import CollectConfig, ScaleConfig
from neurolocal.scale.driver import Driver
from neurolocal.scale.pool import Answer
from neurolocal.scale.worker import CollectRequest, Worker

SETTINGS = {"logits": 3, "sample": 40, "row_length": 32, "k": 5, "before": 6, "after": 3, "batch_size": 4,
            "layers": (0, 2)}  # fmt: skip

Fault = Callable[[int, str, tuple[Any, ...]], Any]
"""Called before a worker does something: a returned value is the answer; `DIE` is a death."""

DIE = object()


def write_text(path: Path, n: int = 25) -> Path:
    rng = np.random.default_rng(7)
    words = ["cat", "dog", "Lily", "ran", "happy", "the", "ball", "red", "said", "and", "big", "tree", "sun"]
    texts = [" ".join(rng.choice(words, 60)) + "." for _ in range(n)]
    path.write_text("\n".join(json.dumps({"text": t}) if i % 5 != 3 else "broken" for i, t in enumerate(texts)))
    return path


class ThreadPool:
    """As `RayPool`; the subject is loaded once for all, so one works at a time: its hooks are no thread's own."""

    one = threading.Lock()

    def __init__(self, request: CollectRequest, subject: Any, fault: Fault = lambda *_: None) -> None:
        self.request, self.subject, self.fault = request, subject, fault
        self.answers: SimpleQueue[tuple[int, Answer]] = SimpleQueue()
        self.workers: dict[int, tuple[int, Worker]] = {}
        self.generation = 0
        self.calls: list[tuple[int, str]] = []

    def start(self, worker: int) -> None:
        self.generation += 1
        made = Worker(self.request, threads=None)
        made._subject = self.subject
        made._load = lambda: None
        self.workers[worker] = self.generation, made
        self.call(worker, "load")

    def drop(self, worker: int) -> None:
        self.workers.pop(worker, None)

    def call(self, worker: int, method: str, *arguments: Any, **named: Any) -> None:
        self._begin(worker, self.one, False, method, *arguments, **named)

    def read(self, worker: int, method: str, *arguments: Any) -> None:
        self._begin(worker, contextlib.nullcontext(), True, method, *arguments)

    def _begin(self, worker: int, alone: Any, reading: bool, method: str, *arguments: Any, **named: Any) -> None:
        generation, made = self.workers[worker]
        self.calls.append((worker, method))

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


def drive(
    subject: Any, corpus: Path, store: Path, *, said: list[str] | None = None, fault: Fault = lambda *_: None,
    workers: int = 2, replace: bool = False, config: dict[str, Any] | None = None, pool: Any = None, **scale: Any,
) -> Any:  # fmt: skip
    request = CollectRequest(str(subject.name), corpus, store, CollectConfig(**(SETTINGS | (config or {}))))
    pool = pool or ThreadPool(request, subject, fault)
    scale = {"engine": "ray", "shards": 4} | scale
    say = (lambda line: None) if said is None else said.append
    driver = Driver(pool, request, ScaleConfig(**scale), workers=workers, say=say, bar=False)
    return driver.run(replace=replace)
