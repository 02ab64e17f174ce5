"""Tasks dealt to workers, one at a time to each: the loop of every job whose tasks do not depend on each other.

Invariant: each task is answered once: by its result, or by a failure when it failed `attempts` times. A worker that
dies is replaced, and its task is done by another one. It knows neither Ray nor what a task is.
Cost: one message each way a task; the tasks are taken from their iterator as workers get free.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from neurolocal.config import ScaleConfig
from neurolocal.errors import NeurolocalError
from neurolocal.scale.crew import WAIT, Crew
from neurolocal.scale.pool import Answer, Pool
from neurolocal.scale.slow import late
from neurolocal.stage import Failure, Say


class Done(NamedTuple):
    """What a worker returns of a task."""

    value: Any
    """The result."""
    said: list[str]
    """Lines for the user."""


class Dealer:
    """Deals the tasks of one job; used once."""

    def __init__(self, pool: Pool, config: ScaleConfig, *, workers: int, name: str, say: Say) -> None:
        """Nothing is started yet. `name`: of the job, before every line."""
        self.pool, self.config, self.name = pool, config, name
        self.crew = Crew(pool, workers=workers, attempts=config.attempts, name=name, say=say)
        self._left: Iterator[Any] = iter(())
        self._more = True
        self._running: dict[int, tuple[Any, float]] = {}
        self._again: deque[Any] = deque()
        self._failures: Counter[Any] = Counter()
        self._over: set[Any] = set()
        self._seconds: list[float] = []
        self._said: set[str] = set()

    def answers(self, tasks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Each task (hashable, all different) with its result or a `Failure`, in the order in which they are done.

        Raises:
            NeurolocalError: a task failed as it would everywhere: a wrong setting, a file that cannot be read.
            ScaleError: no worker could begin.
        """
        self._left = iter(tasks)
        self.crew.start()
        while self._more or self._again or self._in_progress():
            for worker in sorted(self.crew.idle):
                task = self._next()
                if task is not None:
                    self._begin(worker, task)
            for answer in self.pool.wait(WAIT):
                yield from self._answered(answer)

    def _next(self) -> Any | None:
        """What an idle worker does next."""
        if self._again:
            return self._again.popleft()
        task = next(self._left, None) if self._more else None
        self._more = task is not None
        return task or self._slow()

    def _in_progress(self) -> bool:
        """Whether a task is in progress that no other worker has finished."""
        return any(task not in self._over for task, _ in self._running.values())

    def _slow(self) -> Any | None:
        """A task that one worker alone does, and for too long."""
        running = [(task, began) for task, began in self._running.values() if task not in self._over]
        return late(running, self._seconds, time.monotonic(), slow=self.config.slow)

    def _begin(self, worker: int, task: Any) -> None:
        self.crew.idle.discard(worker)
        self._running[worker] = task, time.monotonic()
        self.pool.call(worker, "do", task)

    def _answered(self, answer: Answer) -> Iterator[tuple[Any, Any]]:
        worker, value = answer.worker, answer.value
        if worker in self.crew.loading:
            self.crew.loaded(answer, busy=bool(self._running))
            return
        if answer.ends_the_run:
            raise NeurolocalError(str(answer.why))
        task, began = self._running.pop(worker)
        self.crew.free(answer)
        if task in self._over:
            return
        if answer.why is None:
            assert isinstance(value, Done)
            self._seconds.append(time.monotonic() - began)
            for line in value.said:
                self._tell_once(line)
            self._over.add(task)
            yield task, value.value
        elif failure := self._failed(task, answer.why):
            self._over.add(task)
            yield task, failure

    def _failed(self, task: Any, why: str) -> Failure | None:
        """A task has failed: it is done again, or that was the last time."""
        self._failures[task] += 1
        n, most = self._failures[task], self.config.attempts
        aside = " and is set aside" if n >= most else ""
        self.crew.say(f"{self.name}: {task} failed ({n} of {most}){aside}: {why}")
        if n >= most:
            return Failure(why)
        if all(task != other for other, _ in self._running.values()):
            self._again.append(task)
        return None

    def _tell_once(self, line: str) -> None:
        """Say what a worker said, unless another one has said the same."""
        if line not in self._said:
            self._said.add(line)
            self.crew.say(line)
