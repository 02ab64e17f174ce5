"""The workers of one job: which are starting and which are idle; another one takes the place of one that is gone.

Invariant: a worker is starting, idle, or at work; one that could not begin `attempts` times is none of these. What is
done, and by whom, is for the driver or the dealer to say. Cost: none.
"""

from __future__ import annotations

from collections import Counter

from neurolocal.errors import NeurolocalError
from neurolocal.progress import above_bars
from neurolocal.scale.cluster import ScaleError
from neurolocal.scale.pool import Answer, Pool
from neurolocal.stage import Say

WAIT = 0.2
"""Seconds after which a driver or a dealer looks around while no worker answers."""


class Crew:
    """The workers."""

    def __init__(self, pool: Pool, *, workers: int, attempts: int, name: str, say: Say) -> None:
        """None is started yet.

        Args:
            pool: starts them.
            workers: how many there are.
            attempts: times that each of them may fail to begin.
            name: of the job, before every line.
            say: receives a line for the user at a time.
        """
        self.workers = range(workers)
        self.loading: set[int] = set()
        self.idle: set[int] = set()
        self._pool, self._attempts, self._name, self._say = pool, attempts, name, say
        self._starts: Counter[int] = Counter()

    def start(self) -> None:
        """Start them all."""
        for worker in self.workers:
            self._start(worker)

    def say(self, line: str) -> None:
        """Say a line, above a progress bar."""
        with above_bars():
            self._say(line)

    def loaded(self, answer: Answer, *, busy: bool) -> None:
        """A worker is ready, or could not begin.

        Args:
            answer: what it said.
            busy: whether a worker is at work, so that it goes on without this one.

        Raises:
            NeurolocalError: every worker would fail to begin in the same way.
            ScaleError: none could begin.
        """
        worker = answer.worker
        self.loading.discard(worker)
        if answer.why is None:
            self._starts[worker] = 0
            self.idle.add(worker)
            return
        if answer.ends_the_run:
            raise NeurolocalError(answer.why)
        self._starts[worker] += 1
        self.say(f"{self._name}: worker {worker} could not begin: {answer.why}")
        if self._starts[worker] < self._attempts:
            self._start(worker)
        elif not (self.loading or self.idle or busy):
            raise ScaleError(f"{self._name} on Ray: no worker could begin; the last one: {answer.why}")

    def free(self, answer: Answer) -> None:
        """A worker can do something else; one that is gone is replaced."""
        if answer.died:
            self.say(f"{self._name}: worker {answer.worker} is gone; another one takes its place")
            self._start(answer.worker)
        else:
            self.idle.add(answer.worker)

    def _start(self, worker: int) -> None:
        self.loading.add(worker)
        self.idle.discard(worker)
        self._pool.start(worker)
