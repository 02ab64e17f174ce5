"""Lists, statistics and sign cases of the compiled kernels equal a brute-force reference, any batch size and values."""

from typing import Any

import numpy as np
import pytest
import torch
from collect_twins import AFTER, BEFORE, SEED, Case, cases, hash_of, on_cpu, on_device, run, splitmix64
from hypothesis import given, settings

from neurolocal.records import (
    BINS,
    CASES,
    HISTOGRAM_EVERY,
    N_BANDS,
    SIDES,
    THRESHOLDS,
    LayerRecord,
    histogram_edges,
)


def bin_of(value: float) -> int:
    """By the edges, one after another."""
    edges = histogram_edges()
    for i in range(BINS):
        if value >= 0 and edges[i] <= value < edges[i + 1] and edges[i] >= 0:
            return i
        if value < 0 and edges[i] < value <= edges[i + 1] and edges[i + 1] <= 0:
            return i
    raise AssertionError(value)


def brute_force(case: Case, k: int) -> dict[str, Any]:
    """Every neuron by itself: all candidates sorted by (strength, row, position), best first."""
    x, mask, rows = case.values, case.mask, case.rows
    n_rows, n_pos, d = x.shape
    found: dict[str, Any] = {side: [] for side in (*SIDES, *CASES)}
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


def bands_agree(record: LayerRecord, case: Case, entries: int = 2) -> None:
    """Every neuron by itself: the strongest position of each row, sorted into bins, those with the smallest hashes."""
    bands, x = record.bands, case.values
    assert bands is not None
    for j in range(x.shape[2]):
        found: dict[int, list[Any]] = {}
        for b, row in enumerate(case.rows):
            places = [p for p in range(x.shape[1]) if case.mask[b, p] and np.isfinite(x[b, p, j])]
            best = max(places, key=lambda p, b=b, j=j: (x[b, p, j], -p), default=None)
            if best is not None and x[b, best, j] > 0:
                order = splitmix64(splitmix64(SEED) ^ int(row))
                found.setdefault(bin_of(x[b, best, j]), []).append((order, x[b, best, j], row, best))
        for band in range(N_BANDS):
            rows = sorted(found.get(max(found, default=0) - band, []))
            assert bands.count[j, band] == len(rows)
            kept = [(*row[1:],) for row in rows[:entries]]
            kept += [(np.nan, -1, -1)] * (entries - len(kept))
            for i, name in enumerate(("activation", "row", "position")):
                np.testing.assert_array_equal(getattr(bands, name)[j, band], [entry[i] for entry in kept])


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
    bands_agree(record, case)
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


@settings(max_examples=150)
@given(cases())
def test_top_k_equals_brute_force_for_any_batch_size(drawn):
    case, k, batch = drawn
    x = case.values
    record = run(on_cpu(case, k), case, batch)
    if np.abs(x[np.isfinite(x)]).max(initial=0) < 1e4:  # beyond it fourth powers leave the range of exact sums
        agrees(record, case, k)


@pytest.mark.parametrize("d", [1, 255, 256, 257, 700])
def test_neurons_around_the_block_size(rng, d):
    x, gate, linear = (torch.from_numpy(rng.normal(size=(3, 9, d)).astype(np.float32)) for _ in range(3))
    mask = np.ones((3, 9), bool)
    mask[:, 0] = False
    case = Case(x, gate, linear, mask, np.arange(3, dtype=np.int64))
    agrees(run(on_cpu(case, 2), case, 2), case, 2)


def test_moments_of_a_normal_sample(rng):
    x = torch.from_numpy(rng.normal(1.0, 2.0, (40, 500, 2)).astype(np.float32))
    case = Case(x, x, x, np.ones((40, 500), bool), np.arange(40, dtype=np.int64))
    s = run(on_cpu(case, 1), case, 8).statistics
    values = case.values.reshape(-1, 2).astype(np.float64)
    centred = (values - values.mean(0)) / values.std(0)
    np.testing.assert_allclose(s.skewness, (centred**3).mean(0), atol=1e-4)
    np.testing.assert_allclose(s.kurtosis, (centred**4).mean(0), atol=1e-4)


def test_a_rising_maximum_drops_the_lowest_bands_and_nothing_else(rng):
    """Maxima that rise by up to 40 half octaves, over many rows; one row after the other, on both paths."""
    x = (2.0 ** np.sort(rng.uniform(-14, 13, (200, 3, 4)), axis=0)).astype(np.float32)
    x[:, :, 0] *= -1
    x[100:] = x[100 + rng.permutation(100)]
    every = torch.from_numpy(x)
    case = Case(every, every, every, np.ones(x.shape[:2], bool), np.arange(200) * 7)
    for make in (on_cpu, on_device):
        for batch in (3, 64):
            record = run(make(case, 2), case, batch)
            bands_agree(record, case)
            assert record.bands is not None
            assert (record.bands.count[0] == 0).all()
            assert (record.bands.count[1:, 0] > 0).all()


def test_without_bands_there_are_none(rng):
    x = torch.from_numpy(rng.normal(size=(3, 4, 2)).astype(np.float32))
    case = Case(x, x, x, np.ones((3, 4), bool), np.arange(3))
    for make in (on_cpu, on_device):
        assert run(make(case, 2, bands=0), case, 2).bands is None
