"""Which worker does what next: told what happened, without workers, files or a clock."""

from __future__ import annotations

import random

from neurolocal.scale.folder import Part
from neurolocal.scale.schedule import FAN, Collect, Merge, Schedule


def part(first: int, last: int | None = None) -> Part:
    return Part(first, first if last is None else last, f"{first}.h5", 1, "0" * 64, 1)


def schedule(n: int, *, all_found: bool = True, attempts: int = 3, slow: float = 2.0) -> Schedule:
    made = Schedule(attempts, slow)
    for i in range(n):
        made.add(i, rows=10, last=all_found and i == n - 1)
    return made


def test_every_shard_is_done_once_and_merged_in_a_tree() -> None:
    """A thousand shards, by workers that fail now and then: whatever is finished covers each shard exactly once."""
    draw, s, now = random.Random(4), schedule(1000, attempts=50), 0.0
    merges, covered = 0, list[int]()
    while not s.over:
        now += 1.0
        for worker in range(5):
            job = None if worker in s.running else s.next(now)
            if job is not None:
                s.begin(worker, job, now)
        worker = draw.choice(sorted(s.running))
        job, _ = s.running[worker]
        if draw.random() < 0.2:
            s.failed(worker, "bad luck")
        elif isinstance(job, Collect):
            s.done(worker, part(job.shard), now)
        else:
            merges += 1
            s.done(worker, part(job.parts[0].first, job.parts[-1].last), now)
        covered = [i for one in s.parts for i in range(one.first, one.last + 1)]
        assert len(covered) == len(set(covered))
    assert covered == list(range(1000))
    assert merges >= 1000 // 8 + 1000 // 64 - 1, "the last group may be left to the last merge"
    assert len(s.parts) < 3 * FAN


def test_eight_shards_are_left_to_the_last_merge() -> None:
    s = schedule(FAN)
    for i in range(FAN):
        s.begin(0, Collect(i), 0.0)
        s.done(0, part(i), 1.0)
    assert s.over
    assert s.next(2.0) is None


def test_a_merge_comes_before_the_next_shard() -> None:
    s = schedule(FAN + 2)
    for i in range(FAN):
        s.begin(0, Collect(i), 0.0)
        s.done(0, part(i), 1.0)
    job = s.next(2.0)
    assert job == Merge(tuple(part(i) for i in range(FAN)))
    s.begin(0, job, 2.0)
    assert s.next(2.0) == Collect(FAN)


def test_a_shard_is_set_aside_after_its_last_attempt() -> None:
    s = schedule(2, attempts=2)
    for i in range(2):
        assert s.next(0.0) == Collect(0)
        s.begin(0, Collect(0), 0.0)
        s.failed(0, f"reason {i}")
    assert (s.aside, s.next(0.0)) == ({0: "reason 1"}, Collect(1))


def test_a_shard_is_begun_a_second_time_only_when_all_are_begun_and_it_is_late() -> None:
    s = schedule(5)
    for i in range(4):
        s.begin(0, Collect(i), 10.0 * i)
        s.done(0, part(i), 10.0 * (i + 1))
    s.begin(1, Collect(4), 40.0)
    assert s.next(59.0) is None
    assert s.next(61.0) == Collect(4)
    s.begin(0, Collect(4), 61.0)
    assert s.next(1000.0) is None, "two at most"
    assert s.done(0, part(4), 70.0) == [1]
    assert s.over, "the first worker may hang for ever"
    assert s.done(1, part(4), 71.0) is None
    assert len(s.parts) == 5


def test_a_shard_that_is_finished_is_not_begun_again_though_its_first_worker_hangs() -> None:
    s = schedule(5)
    for i in range(3):
        s.begin(0, Collect(i), 10.0 * i)
        s.done(0, part(i), 10.0 * (i + 1))
    s.begin(1, Collect(3), 30.0)
    s.begin(2, Collect(4), 50.0)
    s.begin(0, Collect(3), 60.0)
    assert s.done(0, part(3), 65.0) == [1]
    assert s.next(66.0) is None
    assert s.next(1000.0) == Collect(4)


def test_a_second_worker_that_dies_leaves_the_shard_to_the_first() -> None:
    s = schedule(1)
    s.seconds = [0.1, 0.1, 0.1]
    s.begin(0, Collect(0), 0.0)
    s.begin(1, Collect(0), 5.0)
    s.failed(1, "gone")
    assert not s.pending
    assert s.done(0, part(0), 9.0) == []


def test_a_damaged_part_is_done_again() -> None:
    s = schedule(3)
    s.pending.clear()
    s.parts = [part(0, 1), part(2)]
    s.lost(part(0, 1))
    assert (list(s.pending), s.parts, s.over) == ([0, 1], [part(2)], False)
