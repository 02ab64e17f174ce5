"""Which worker does what next: shards, merges on the way, shards that failed, shards that take too long.

It knows neither Ray nor files: it is told what happened and when, and says what to do.
Invariant: a part of the corpus is in exactly one finished part, or pending, or being done, or set aside. Two workers
may do the same shard; the first one counts, since both make the same bits.
Cost: a few numbers a shard.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from neurolocal.scale.folder import Part
from neurolocal.scale.slow import late

SHARDS = 4
"""Shards a worker, where the user does not say."""

FAN = 8
"""Adjacent finished parts that are merged into one while others are collected."""


@dataclass(frozen=True)
class Collect:
    """Collect a shard."""

    shard: int


@dataclass(frozen=True)
class Merge:
    """Merge adjacent parts."""

    parts: tuple[Part, ...]


Job = Collect | Merge


@dataclass
class Schedule:
    """The state of a run."""

    attempts: int
    """Times that a shard may fail."""
    slow: float
    """A shard that takes longer than so many times the median is begun a second time."""
    parts: list[Part] = field(default_factory=list)
    """Finished, ascending, without overlap."""
    pending: deque[int] = field(default_factory=deque)
    """Shards to collect."""
    aside: dict[int, str] = field(default_factory=dict)
    """Shards that failed too often, with the last reason."""
    all_found: bool = False
    """Whether there will be no more."""
    running: dict[int, tuple[Job, float]] = field(default_factory=dict)
    """What each busy worker does, and since when."""
    failures: Counter[int] = field(default_factory=Counter)
    """How often each shard failed."""
    rows: list[int] = field(default_factory=list)
    """Rows of each shard found so far."""
    seconds: list[float] = field(default_factory=list)
    """How long finished shards took, by row."""

    def add(self, shard: int, *, rows: int, last: bool) -> None:
        """A shard was found; it is pending unless a finished part holds it."""
        self.rows.append(rows)
        self.all_found = last
        if not self.has(shard):
            self.pending.append(shard)

    def has(self, shard: int) -> bool:
        """Whether a finished part holds the shard."""
        return any(part.first <= shard <= part.last for part in self.parts)

    def next(self, now: float) -> Job | None:
        """What an idle worker does next; None: nothing for now. A merge comes first, since it frees disk."""
        return self._merge() or (Collect(self.pending[0]) if self.pending else self._slow(now))

    def begin(self, worker: int, job: Job, now: float) -> None:
        """A worker begins a job that `next` gave."""
        if isinstance(job, Collect) and job.shard in self.pending:
            self.pending.remove(job.shard)
        self.running[worker] = (job, now)

    def done(self, worker: int, part: Part, now: float) -> list[int] | None:
        """A worker has finished; gives the workers that do the same shard still. None: another one was first."""
        job, began = self.running.pop(worker)
        if self._overtaken(job):
            return None
        if isinstance(job, Collect):
            self.seconds.append((now - began) / self.rows[job.shard])
            self.aside.pop(job.shard, None)
        else:
            self.parts = [other for other in self.parts if other not in job.parts]
        self.parts = sorted([*self.parts, part], key=lambda part: part.first)
        return self.doing(job)

    def failed(self, worker: int, why: str) -> None:
        """A worker has failed, or is gone; its shard is pending again, or set aside if it failed too often.

        A shard that another worker does still, or has done, is left to that one.
        """
        job, _ = self.running.pop(worker)
        if not isinstance(job, Collect):
            return
        shard = job.shard
        self.failures[shard] += 1
        if self.doing(job) or self._overtaken(job):
            return
        if self.failures[shard] >= self.attempts:
            self.aside[shard] = why
        else:
            self.pending.appendleft(shard)

    def stopped(self, worker: int) -> None:
        """A worker has stopped as it was told to."""
        self.running.pop(worker)

    def lost(self, part: Part) -> None:
        """A finished part is damaged: its shards are to be done again."""
        self.parts = [other for other in self.parts if other != part]
        self.pending.extendleft(range(part.last, part.first - 1, -1))

    def doing(self, job: Job) -> list[int]:
        """The workers that do a job."""
        return [worker for worker, (other, _) in self.running.items() if other == job]

    @property
    def over(self) -> bool:
        """Whether every shard is in a finished part or set aside; a worker that was overtaken is not waited for."""
        return self.all_found and not self.pending and all(self._overtaken(job) for job, _ in self.running.values())

    def _overtaken(self, job: Job) -> bool:
        return isinstance(job, Collect) and self.has(job.shard)

    def _merge(self) -> Merge | None:
        """`FAN` adjacent parts of equal length that are not being merged; their first number divides by the new length.

        Where few parts are left in the end, the last merge takes them all.
        """
        if self.all_found and len(self.rows) <= FAN:
            return None
        busy = {part for job, _ in self.running.values() if isinstance(job, Merge) for part in job.parts}
        at = {part.first: part for part in self.parts if part not in busy}
        for first, part in at.items():
            n = part.last - part.first + 1
            group = [at.get(first + i * n) for i in range(FAN)]
            whole = [one for one in group if one is not None and one.last - one.first + 1 == n]
            if first % (FAN * n) == 0 and len(whole) == FAN and not (self.all_found and FAN * n >= len(self.rows)):
                return Merge(tuple(whole))
        return None

    def _slow(self, now: float) -> Collect | None:
        """A shard that one worker alone does, and for too long; only when all are begun."""
        if not self.all_found:
            return None
        running = [
            (job, began)
            for job, began in self.running.values()
            if isinstance(job, Collect) and not self._overtaken(job)
        ]
        return late(running, self.seconds, now, slow=self.slow, size=lambda job: self.rows[job.shard])
