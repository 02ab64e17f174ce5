"""The collector's lists, statistics and sample against a brute-force twin, for any batch size, sharding and values."""

import inspect
import os
import struct
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.collect import plain
from neurolocal.collect.device import DeviceState
from neurolocal.collect.merge import merge
from neurolocal.collect.sample import Sampler, hashes, merge_samples
from neurolocal.collect.state import CountedBatch, LayerState
from neurolocal.collect.workers import Workers
from neurolocal.config import CollectConfig
from neurolocal.records import (
    BINS,
    CASES,
    HISTOGRAM_EVERY,
    SIDES,
    THRESHOLDS,
    LayerRecord,
    Sample,
    histogram_edges,
)

POOL = Workers(2)
BEFORE, AFTER, SEED = 3, 2, 5


def config(k: int, **more) -> CollectConfig:
    return CollectConfig(k=k, before=BEFORE, after=AFTER, seed=SEED, **({"sample": 7} | more))


def splitmix64(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def hash_of(row: int, position: int) -> int:
    return splitmix64(splitmix64(splitmix64(SEED) ^ int(row)) ^ int(position))


def bin_of(value: float) -> int:
    """By the edges, one after another."""
    edges = histogram_edges()
    for i in range(BINS):
        if value >= 0 and edges[i] <= value < edges[i + 1] and edges[i] >= 0:
            return i
        if value < 0 and edges[i] < value <= edges[i + 1] and edges[i + 1] <= 0:
            return i
    raise AssertionError(value)


class Case:
    """Activations with their gate and in projection's outputs, what counts, and row numbers."""

    def __init__(self, x, gate, linear, mask, rows):
        self.x, self.gate, self.linear, self.mask, self.rows = x, gate, linear, mask, rows

    @property
    def values(self) -> np.ndarray:
        return self.x.float().numpy()

    def case_number(self, b: int, p: int, j: int) -> int:
        negative = [struct.pack(">f", float(t[b, p, j]))[0] >> 7 for t in (self.gate, self.linear)]
        return 2 * negative[0] + negative[1]


def brute_force(case: Case, k: int) -> dict:
    """Every neuron by itself: all candidates sorted by (strength, row, position), best first."""
    x, mask, rows = case.values, case.mask, case.rows
    n_rows, n_pos, d = x.shape
    found: dict = {side: [] for side in (*SIDES, *CASES)}
    for side in found:
        for j in range(d):
            best = []
            for b in range(n_rows):
                candidates = []
                for p in range(n_pos):
                    if mask[b, p] and np.isfinite(x[b, p, j]):
                        if side in SIDES:
                            candidates.append((x[b, p, j] * (-1 if side == "largest" else 1), p))
                        elif CASES[case.case_number(b, p, j)] == side:
                            candidates.append((-abs(x[b, p, j]), p))
                if candidates:
                    s, p = min(candidates)
                    best.append((s, rows[b], p, b))
            entries = []
            for _, r, p, b in sorted(best)[:k]:
                window = [x[b, q, j] if 0 <= q < n_pos else np.nan for q in range(p - BEFORE, p + AFTER + 1)]
                entries.append((x[b, p, j], r, p, window))
            found[side].append(entries)
    return found


def agrees(record: LayerRecord, case: Case, k: int) -> None:
    """Lists, counts and extremes exactly; sums to rounding."""
    x, mask, rows = case.values, case.mask, case.rows
    twin = brute_force(case, k)
    for side, top in record.lists.items():
        for j, entries in enumerate(twin[side]):
            n = len(entries)
            assert (top.row[j, n:] == -1).all()
            assert np.isnan(top.activation[j, n:]).all()
            assert np.isnan(top.window[j, n:]).all()
            for i, (activation, row, position, window) in enumerate(entries):
                assert (top.activation[j, i], top.row[j, i], top.position[j, i]) == (activation, row, position)
                np.testing.assert_array_equal(top.window[j, i], np.array(window, np.float32))
    s = record.statistics
    used = np.where(mask[:, :, None] & np.isfinite(x), x.astype(np.float64), np.nan)
    n = np.isfinite(used).sum((0, 1))
    assert s.count == mask.sum()
    np.testing.assert_array_equal(s.nonfinite, mask.sum() - n)
    np.testing.assert_array_equal(s.positive, (np.nan_to_num(used) > 0).sum((0, 1)))
    for level, above in zip(THRESHOLDS, s.above, strict=True):
        np.testing.assert_array_equal(above, (np.nan_to_num(used) > np.float32(level)).sum((0, 1)))
    some = n > 0
    if some.any():
        np.testing.assert_array_equal(s.maximum[some], np.nanmax(used[:, :, some], (0, 1)).astype(np.float32))
        np.testing.assert_array_equal(s.minimum[some], np.nanmin(used[:, :, some], (0, 1)).astype(np.float32))
        scale = np.nanmax(np.abs(used[:, :, some])) + 1e-30
        np.testing.assert_allclose(s.mean[some], np.nanmean(used[:, :, some], (0, 1)), atol=1e-5 * scale)
        np.testing.assert_allclose(s.variance[some], np.nanvar(used[:, :, some], (0, 1)), atol=1e-4 * scale**2)
        for power in (3, 4):
            true = np.nanmean(used[:, :, some] ** power, (0, 1))
            np.testing.assert_allclose(s._raw(power)[some], true, atol=1e-5 * scale**power + 2.0**-40)
    assert np.isnan(s.mean[~some]).all()
    histogram = np.zeros((x.shape[2], BINS), np.int64)
    drawn = [(b, p) for b, p in zip(*np.nonzero(mask), strict=True) if hash_of(rows[b], p) < 2**64 // HISTOGRAM_EVERY]
    for b, p in drawn:
        for j in np.flatnonzero(np.isfinite(x[b, p])):
            histogram[j, bin_of(x[b, p, j])] += 1
    assert s.sampled == len(drawn)
    np.testing.assert_array_equal(s.histogram, histogram)
    if record.cases is not None:
        agrees_in_cases(record, case, scale=float(np.abs(x[np.isfinite(x)]).max(initial=0)))


def agrees_in_cases(record: LayerRecord, case: Case, *, scale: float) -> None:
    x, cases = case.values, record.cases
    assert cases is not None
    for j in range(x.shape[2]):
        members: list[list[float]] = [[], [], [], []]
        for b, p in zip(*np.nonzero(case.mask), strict=True):
            if np.isfinite(x[b, p, j]):
                members[case.case_number(b, p, j)].append(float(x[b, p, j]))
        assert cases.count[:, j].tolist() == [len(m) for m in members]
        for number, m in enumerate(members):
            if m:
                np.testing.assert_allclose(cases.mean[number, j], np.mean(m), atol=1e-5 * scale + 1e-12)
            else:
                assert np.isnan(cases.mean[number, j])


def run(state, case: Case, batch: int, sampler: Sampler | None = None, rows=None) -> LayerRecord:
    """Batches of the case into a state; `rows` chooses batches by their first row."""
    sampler = Sampler(7, seed=SEED) if sampler is None else sampler
    for i in range(0, len(case.x), batch) if rows is None else rows:
        part = slice(i, i + batch)
        counted = CountedBatch.of(case.rows[part], case.mask[part], sampler)
        state.update(case.x[part], (case.gate[part], case.linear[part]), counted, POOL)
    return state.snapshot(sampler.order())


def identical(a: LayerRecord, b: LayerRecord, *, sums: bool = True) -> None:
    assert a.lists.keys() == b.lists.keys()
    for side in a.lists:
        for name in ("activation", "row", "position", "window"):
            np.testing.assert_array_equal(getattr(a.lists[side], name), getattr(b.lists[side], name))
    names = ["count", "minimum", "maximum", "positive", "above", "nonfinite", "sampled", "histogram"]
    for name in names + (["whole", "fraction"] if sums else []):
        np.testing.assert_array_equal(getattr(a.statistics, name), getattr(b.statistics, name))
    np.testing.assert_array_equal(a.sample, b.sample)
    assert (a.cases is None) == (b.cases is None)
    if a.cases is not None and b.cases is not None:
        for name in ["count"] + (["whole", "fraction"] if sums else []):
            np.testing.assert_array_equal(getattr(a.cases, name), getattr(b.cases, name))


@st.composite
def cases(draw):
    """Activations with many ties, NaN and infinities, zeros of both signs, padded rows, holes in the mask."""
    n_rows, n_pos, d = draw(st.integers(1, 9)), draw(st.integers(1, 11)), draw(st.integers(1, 5))
    seed, kind = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from(["ties", "normal", "hostile"]))
    rng = np.random.default_rng(seed)
    shape = (n_rows, n_pos, d)
    x = (
        rng.integers(-2, 3, shape).astype(np.float32)
        if kind == "ties"
        else rng.normal(size=shape).astype(np.float32) * 10.0 ** rng.integers(-5, 4)
    )
    if kind == "hostile":
        x[rng.random(shape) < 0.2] = np.nan
        x[rng.random(shape) < 0.1] = np.inf
        x[rng.random(shape) < 0.1] = -np.inf
        x[rng.random(shape) < 0.05] = 3e38
        x[rng.random(shape) < 0.05] = -0.0
    mask = rng.random((n_rows, n_pos)) < draw(st.sampled_from([0.3, 0.9, 1.0]))
    rows = np.sort(rng.choice(1000, n_rows, replace=False)).astype(np.int64)
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    gate, linear = (np.where(rng.random(shape) < 0.2, -0.0, rng.normal(size=shape)).astype(np.float32) for _ in "ab")
    tensors = [torch.from_numpy(a).to(dtype) for a in (x, gate, linear)]
    return Case(*tensors, mask, rows), draw(st.integers(1, 6)), draw(st.integers(1, 9))


def on_cpu(case: Case, k: int, **more) -> LayerState:
    return LayerState(case.x.shape[2], config(k, **more), cases=True)


def on_device(case: Case, k: int, **more) -> DeviceState:
    return DeviceState(case.x.shape[2], config(k, **more), cases=True, device=torch.device("cpu"), reduce=plain.reduced)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_top_k_equals_brute_force_for_any_batch_size(drawn):
    case, k, batch = drawn
    x = case.values
    record = run(on_cpu(case, k), case, batch)
    if np.abs(x[np.isfinite(x)]).max(initial=0) < 1e4:  # beyond it fourth powers leave the range of exact sums
        agrees(record, case, k)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_plain_torch_is_the_same(drawn):
    case, k, batch = drawn
    identical(run(on_cpu(case, k), case, batch), run(on_device(case, k), case, batch), sums=False)


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


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 8))
def test_stopped_and_restored_equals_uninterrupted(drawn, stop):
    case, k, batch = drawn
    starts = list(range(0, len(case.x), batch))
    for make in (on_cpu, on_device):
        whole = run(make(case, k), case, batch)
        sampler, first, second = Sampler(7, seed=SEED), make(case, k), make(case, k)
        record, kept = run(first, case, batch, sampler, rows=starts[:stop]), sampler.snapshot()
        again = Sampler(7, seed=SEED)
        again.restore(kept)
        second.restore(record)
        identical(whole, run(second, case, batch, again, rows=starts[stop:]))


@settings(max_examples=100, deadline=None)
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


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_a_subset_of_neurons_is_those_of_the_whole(drawn, data):
    case, k, batch = drawn
    d = case.x.shape[2]
    chosen = tuple(sorted(data.draw(st.sets(st.integers(0, d - 1), min_size=1))))
    whole = run(on_cpu(case, k), case, batch)
    for make in (on_cpu, on_device):
        some = run(make(case, k, neurons=chosen), case, batch)
        at = list(chosen)
        for side, top in some.lists.items():
            np.testing.assert_array_equal(top.activation, whole.lists[side].activation[at])
            np.testing.assert_array_equal(top.window, whole.lists[side].window[at])
        np.testing.assert_array_equal(some.statistics.histogram, whole.statistics.histogram[at])
        np.testing.assert_array_equal(some.sample, whole.sample[at])
        assert some.neurons is not None
        assert some.neurons.tolist() == at


@pytest.mark.parametrize("d", [1, 255, 256, 257, 700])
def test_neurons_around_the_block_size(rng, d):
    x, gate, linear = (torch.from_numpy(rng.normal(size=(3, 9, d)).astype(np.float32)) for _ in range(3))
    mask = np.ones((3, 9), bool)
    mask[:, 0] = False
    case = Case(x, gate, linear, mask, np.arange(3, dtype=np.int64))
    agrees(run(on_cpu(case, 2), case, 2), case, 2)


def test_counted_ranges():
    mask = np.array([[0, 1, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=bool)
    counted = CountedBatch.of(np.arange(3), mask, Sampler(0, seed=0))
    assert counted.runs[0].tolist() == [[1, 3], [4, 5]]
    assert counted.n_runs.tolist() == [2, 0, 1]
    assert counted.runs[2, 0].tolist() == [0, 5]
    assert counted.total == 8


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


def test_moments_of_a_normal_sample(rng):
    x = torch.from_numpy(rng.normal(1.0, 2.0, (40, 500, 2)).astype(np.float32))
    case = Case(x, x, x, np.ones((40, 500), bool), np.arange(40, dtype=np.int64))
    s = run(on_cpu(case, 1), case, 8).statistics
    values = case.values.reshape(-1, 2).astype(np.float64)
    centred = (values - values.mean(0)) / values.std(0)
    np.testing.assert_allclose(s.skewness, (centred**3).mean(0), atol=1e-4)
    np.testing.assert_allclose(s.kurtosis, (centred**4).mean(0), atol=1e-4)


@pytest.mark.slow
def test_compiled_is_the_same(rng, monkeypatch):
    """What a GPU runs: torch.compile's version of `reduced`, here on the CPU."""
    monkeypatch.setattr(plain, "reduced", inspect.unwrap(plain.reduced))  # the checks of shapes cannot be compiled
    x, gate, linear = (torch.from_numpy(rng.normal(size=(4, 33, 70)).astype(np.float32)) for _ in range(3))
    mask, reduce = rng.random((4, 33)) < 0.9, plain.compiled()
    case = Case(x.bfloat16(), gate.bfloat16(), linear.bfloat16(), mask, np.arange(4, dtype=np.int64))
    device = torch.device("cpu")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="collecting without torch.compile")
        fast = run(DeviceState(70, config(3), cases=True, device=device, reduce=reduce), case, 2)
    identical(run(on_cpu(case, 3), case, 2), fast, sums=False)


def test_without_a_compiler_it_goes_on(rng, monkeypatch):
    def broken(*args):
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(torch, "compile", lambda function, dynamic: broken)
    x, reduce = torch.from_numpy(rng.normal(size=(2, 5, 3)).astype(np.float32)), plain.compiled()
    mask = torch.ones((2, 5), dtype=torch.bool)
    with pytest.warns(UserWarning, match=r"collecting without torch.compile, which failed \(no compiler\)"):
        found = reduce(x, mask, None)
    assert torch.equal(found.strength, plain.reduced(x, mask, None).strength)


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


BEFORE_ALL = os.sched_getaffinity(0)
