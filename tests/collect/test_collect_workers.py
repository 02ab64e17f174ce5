"""The threads do every part, raise errors, and leave the affinity of the calling thread unchanged."""

import os

import pytest

from neurolocal.collect.workers import Workers

BEFORE_ALL = os.sched_getaffinity(0)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_workers_do_every_part_and_tell_errors(n):
    done = []
    with Workers(n) as workers:
        for _ in range(5):
            workers.run(lambda low, high: done.append((low, high)), [(i, i + 1) for i in range(n)])
        assert sorted(done) == sorted((i, i + 1) for i in range(n) for _ in range(5))

        def broken(low, high):
            raise ValueError(low)

        with pytest.raises(ValueError, match="0"):
            workers.run(broken, [(0, 1)])
    assert os.sched_getaffinity(0) == BEFORE_ALL, "the calling thread was bound to some cores"
