"""What takes too long, so that a worker with nothing to do begins it as well: shards, and tasks of a dealer.

Invariant: two workers do the same at most. Cost: a look at what each worker does.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

LEAST = 3
"""Jobs that must be finished before it can be said that another one is slow."""

J = TypeVar("J", bound=Hashable)


def late(
    running: Iterable[tuple[J, float]], took: Sequence[float], now: float, *, slow: float,
    size: Callable[[J], float] = lambda job: 1.0,
) -> J | None:  # fmt: skip
    """The job that is in progress longest of those that one worker alone does, and for too long; None: there is none.

    Args:
        running: what each busy worker does, and since when; without what another worker has finished.
        took: seconds of finished jobs, by their size.
        now: the present time.
        slow: times the median that a job may take.
        size: of a job.
    """
    if len(took) < LEAST:
        return None
    jobs, limit = list(running), slow * statistics.median(took)
    doing = Counter(job for job, _ in jobs)
    found = [(began, job) for job, began in jobs if doing[job] == 1 and now - began > limit * size(job)]
    return min(found, key=lambda pair: pair[0])[1] if found else None
