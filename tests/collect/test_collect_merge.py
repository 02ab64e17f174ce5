"""Shards merged in any order equal a single run."""

import numpy as np
from collect_twins import SEED, cases, identical, on_cpu, run
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.collect.merge import merge
from neurolocal.collect.sample import Sampler, merge_samples
from neurolocal.records import (
    Sample,
)


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_shards_in_any_order_give_the_single_run(drawn, shards, random):
    case, k, batch = drawn
    sampler = Sampler(7, seed=SEED)
    whole = run(on_cpu(case, k), case, batch, sampler)
    starts, parts = list(range(0, len(case.x), batch)), []
    for shard in range(shards):
        own = Sampler(7, seed=SEED)
        parts.append((run(on_cpu(case, k), case, batch, own, rows=starts[shard::shards]), own.snapshot()))
    random.shuffle(parts)
    merged, sample = parts[0]
    for part, its in parts[1:]:
        sample, best = merge_samples(sample, its, size=7, seed=SEED)
        merged = merge(merged, part, sample=best)
    identical(whole, merged)
    assert_same_sample(sampler.snapshot(), sample)


def assert_same_sample(a: Sample, b: Sample) -> None:
    np.testing.assert_array_equal(a.row, b.row)
    np.testing.assert_array_equal(a.position, b.position)
