"""What the driver asks of Ray's actors, with a Ray of a few lines."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from neurolocal.scale import cluster
from neurolocal.scale.cluster import RayPool, Resources


class OneRay:
    """Actors that answer at once; a reference is its number."""

    def __init__(self) -> None:
        self.asked = 0
        self._numbers = itertools.count()

    def remote(self, kind: type) -> OneRay:
        return self

    def options(self, **named: Any) -> Any:
        ray = self

        class Method:
            def __init__(self, name: str) -> None:
                self.name = name

            def remote(self, *arguments: Any, **named: Any) -> int:
                ray.asked += self.name == "batches"
                return next(ray._numbers)

        class Actor:
            load = collect = Method("work")
            batches = Method("batches")

        class Made:
            def remote(self, *arguments: Any, **named: Any) -> Actor:
                return Actor()

        return Made()

    def wait(self, refs: list[int], *, num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        return refs, []

    def get(self, ref: int) -> int:
        return 7


def test_workers_are_asked_how_far_they_are_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    ray, now = OneRay(), 100.0
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now)
    pool = RayPool(ray, object, None, Resources(2, 0, 1), at_once=5)
    for worker in (0, 1):
        pool.start(worker)
    found = [pool.batches() for _ in range(10)]
    assert ray.asked == 2
    assert (found[0], found[-1]) == ({0: 0, 1: 0}, {0: 7, 1: 7})
    now += cluster.ASK
    pool.batches()
    assert ray.asked == 4
