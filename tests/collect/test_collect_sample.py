"""The sample is the positions with the smallest hashes, which are those of FORMAT.md; it is uniform."""

import numpy as np
from collect_twins import SEED, cases, hash_of, on_cpu, run
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.collect.sample import Sampler, hashes
from neurolocal.records import HISTOGRAM_EVERY


@settings(max_examples=100)
@given(cases(), st.integers(0, 30))
def test_the_sample_is_the_positions_of_smallest_hash(drawn, size):
    case, k, batch = drawn
    sampler = Sampler(size, seed=SEED)
    record = run(on_cpu(case, k, sample=size), case, batch, sampler)
    counted = [(hash_of(case.rows[b], p), b, p) for b, p in zip(*np.nonzero(case.mask), strict=True)]
    chosen = sorted((case.rows[b], p, b) for _, b, p in sorted(counted)[:size])
    sample = sampler.snapshot()
    assert sample.row.tolist() == [r for r, _, _ in chosen]
    assert sample.position.tolist() == [p for _, p, _ in chosen]
    wanted = np.array([case.values[b, p] for _, p, b in chosen]).reshape(-1, case.x.shape[2])
    np.testing.assert_array_equal(record.sample, wanted.T)


def test_the_histogram_takes_every_counted_position_whose_hash_is_small(rng):
    rows, mask = np.sort(rng.choice(10**6, 30, replace=False)), rng.random((30, 64)) < 0.7
    drawn = Sampler(5, seed=SEED).draw(rows, mask).histogram
    small = 2**64 // HISTOGRAM_EVERY
    assert drawn.tolist() == [[b, p] for b, p in np.argwhere(mask).tolist() if hash_of(int(rows[b]), p) < small]
    assert 0 < len(drawn) < mask.sum()


def test_a_batch_without_a_counted_position_draws_nothing():
    drawn = Sampler(5, seed=SEED).draw(np.arange(2), np.zeros((2, 3), bool))
    assert (drawn.histogram.shape, drawn.entering.shape, drawn.slots.shape) == ((0, 2), (0, 2), (0,))


def test_hashes_are_those_of_the_format(rng):
    rows, positions = rng.integers(0, 2**40, 50), rng.integers(0, 4096, 50).astype(np.int32)
    assert hashes(rows, positions, seed=SEED).tolist() == [
        hash_of(int(r), int(p)) for r, p in zip(rows, positions, strict=True)
    ]


def test_a_sample_is_uniform(rng):
    """Over many seeds each of 64 positions is drawn about as often: chi-square far from its tail."""
    rows, mask = np.arange(8, dtype=np.int64), np.ones((8, 8), bool)
    seen = np.zeros((8, 8))
    for seed in rng.integers(0, 2**31, 600):
        sampler = Sampler(16, seed=int(seed))
        sampler.draw(rows, mask)
        sample = sampler.snapshot()
        seen[sample.row, sample.position] += 1
    assert ((seen - 150) ** 2 / (150 * 0.75)).sum() < 140  # 64 cells: mean 63, sd 11
