"""The collector's lists and statistics against a brute-force twin, for any batch size, sharding and values."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.collect.merge import merge
from neurolocal.collect.state import Counted, DeviceState, LayerSnapshot, LayerState
from neurolocal.records import SIDES

POOL = ThreadPoolExecutor(2)
BEFORE, AFTER = 3, 2


def brute_force(x: np.ndarray, mask: np.ndarray, rows: np.ndarray, k: int) -> dict:
    """Every neuron by itself: all candidates sorted by (activation, row, position), best first."""
    n_rows, n_pos, d = x.shape
    found: dict = {side: [] for side in SIDES}
    for side, sign in zip(SIDES, (1, -1), strict=True):
        for j in range(d):
            best = []
            for b in range(n_rows):
                candidates = [(-sign * x[b, p, j], p) for p in range(n_pos) if mask[b, p] and np.isfinite(x[b, p, j])]
                if candidates:
                    s, p = min(candidates)
                    best.append((s, rows[b], p, b))
            entries = []
            for _, r, p, b in sorted(best)[:k]:
                window = [x[b, q, j] if 0 <= q < n_pos else np.nan for q in range(p - BEFORE, p + AFTER + 1)]
                entries.append((x[b, p, j], r, p, window))
            found[side].append(entries)
    return found


def agrees(snapshot: LayerSnapshot, x: np.ndarray, mask: np.ndarray, rows: np.ndarray, k: int) -> None:
    """Lists, counts and extremes exactly; sums to rounding."""
    twin = brute_force(x, mask, rows, k)
    for side in SIDES:
        top = snapshot.lists[side]
        for j, entries in enumerate(twin[side]):
            n = len(entries)
            assert (top.row[j, n:] == -1).all()
            assert np.isnan(top.activation[j, n:]).all()
            assert np.isnan(top.window[j, n:]).all()
            for i, (activation, row, position, window) in enumerate(entries):
                assert (top.activation[j, i], top.row[j, i], top.position[j, i]) == (activation, row, position)
                np.testing.assert_array_equal(top.window[j, i], np.array(window, np.float32))
    s = snapshot.statistics
    used = np.where(mask[:, :, None] & np.isfinite(x), x.astype(np.float64), np.nan)
    n = np.isfinite(used).sum((0, 1))
    assert s.count == mask.sum()
    np.testing.assert_array_equal(s.nonfinite, mask.sum() - n)
    np.testing.assert_array_equal(s.positive, (np.nan_to_num(used) > 0).sum((0, 1)))
    some = n > 0
    if some.any():
        np.testing.assert_array_equal(s.maximum[some], np.nanmax(used[:, :, some], (0, 1)).astype(np.float32))
        np.testing.assert_array_equal(s.minimum[some], np.nanmin(used[:, :, some], (0, 1)).astype(np.float32))
        scale = np.nanmax(np.abs(used[:, :, some])) + 1e-30
        np.testing.assert_allclose(s.mean[some], np.nanmean(used[:, :, some], (0, 1)), atol=1e-5 * scale)
        np.testing.assert_allclose(s.variance[some], np.nanvar(used[:, :, some], (0, 1)), atol=1e-4 * scale**2)
    assert np.isnan(s.mean[~some]).all()


def run(state, x: torch.Tensor, mask: np.ndarray, rows: np.ndarray, batch: int) -> LayerSnapshot:
    for i in range(0, len(x), batch):
        state.update(x[i : i + batch], Counted.of(mask[i : i + batch]), rows[i : i + batch], POOL)
    return state.snapshot()


def identical(a: LayerSnapshot, b: LayerSnapshot, *, sums: bool = True) -> None:
    for side in SIDES:
        for name in ("activation", "row", "position", "window"):
            np.testing.assert_array_equal(getattr(a.lists[side], name), getattr(b.lists[side], name))
    names = ["count", "minimum", "maximum", "positive", "nonfinite"] + (["whole", "fraction"] if sums else [])
    for name in names:
        np.testing.assert_array_equal(getattr(a.statistics, name), getattr(b.statistics, name))


@st.composite
def cases(draw):
    """Activations with many ties, NaN and infinities, padded rows, holes in the mask."""
    n_rows, n_pos, d = draw(st.integers(1, 9)), draw(st.integers(1, 11)), draw(st.integers(1, 5))
    seed, kind = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from(["ties", "normal", "hostile"]))
    rng = np.random.default_rng(seed)
    x = (
        rng.integers(-2, 3, (n_rows, n_pos, d)).astype(np.float32)
        if kind == "ties"
        else rng.normal(size=(n_rows, n_pos, d)).astype(np.float32)
    )
    if kind == "hostile":
        x[rng.random(x.shape) < 0.2] = np.nan
        x[rng.random(x.shape) < 0.1] = np.inf
        x[rng.random(x.shape) < 0.1] = -np.inf
        x[rng.random(x.shape) < 0.05] = 3e38
    mask = rng.random((n_rows, n_pos)) < draw(st.sampled_from([0.3, 0.9, 1.0]))
    rows = np.sort(rng.choice(1000, n_rows, replace=False)).astype(np.int64)
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    t = torch.from_numpy(x).to(dtype)
    return t, mask, rows, draw(st.integers(1, 6)), draw(st.integers(1, 9))


@settings(max_examples=150, deadline=None)
@given(cases())
def test_top_k_equals_brute_force_for_any_batch_size(case):
    t, mask, rows, k, batch = case
    x = t.float().numpy()
    snapshot = run(LayerState(x.shape[2], k, before=BEFORE, after=AFTER), t, mask, rows, batch)
    if np.abs(x[np.isfinite(x)]).max(initial=0) < 1e9:  # beyond it squares leave the range of exact sums
        agrees(snapshot, x, mask, rows, k)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_plain_torch_is_the_same(case):
    t, mask, rows, k, batch = case
    d = t.shape[2]
    a = run(LayerState(d, k, before=BEFORE, after=AFTER), t, mask, rows, batch)
    b = run(DeviceState(d, k, before=BEFORE, after=AFTER, device=torch.device("cpu")), t, mask, rows, batch)
    identical(a, b, sums=False)


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_shards_in_any_order_give_the_single_run(case, shards, random):
    t, mask, rows, k, batch = case
    d = t.shape[2]
    whole = run(LayerState(d, k, before=BEFORE, after=AFTER), t, mask, rows, batch)
    starts = list(range(0, len(t), batch))
    parts = []
    for shard in range(shards):
        state = LayerState(d, k, before=BEFORE, after=AFTER)
        for i in starts[shard::shards]:
            state.update(t[i : i + batch], Counted.of(mask[i : i + batch]), rows[i : i + batch], POOL)
        parts.append(state.snapshot())
    random.shuffle(parts)
    merged = parts[0]
    for part in parts[1:]:
        merged = merge(merged, part)
    identical(whole, merged)


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 8))
def test_stopped_and_restored_equals_uninterrupted(case, stop):
    t, mask, rows, k, batch = case
    d = t.shape[2]
    for make in (
        lambda: LayerState(d, k, before=BEFORE, after=AFTER),
        lambda: DeviceState(d, k, before=BEFORE, after=AFTER, device=torch.device("cpu")),
    ):
        whole = run(make(), t, mask, rows, batch)
        at = min(stop * batch, len(t))
        first = make()
        run(first, t[:at], mask[:at], rows[:at], batch)
        second = make()
        second.restore(first.snapshot())
        identical(whole, run(second, t[at:], mask[at:], rows[at:], batch))


@pytest.mark.parametrize("d", [1, 255, 256, 257, 700])
def test_neurons_around_the_block_size(rng, d):
    x = rng.normal(size=(3, 9, d)).astype(np.float32)
    mask = np.ones((3, 9), bool)
    mask[:, 0] = False
    rows = np.arange(3, dtype=np.int64)
    agrees(run(LayerState(d, 2, before=BEFORE, after=AFTER), torch.from_numpy(x), mask, rows, 2), x, mask, rows, 2)


def test_counted_ranges():
    counted = Counted.of(np.array([[0, 1, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=bool))
    assert counted.runs[0].tolist() == [[1, 3], [4, 5]]
    assert counted.n_runs.tolist() == [2, 0, 1]
    assert counted.runs[2, 0].tolist() == [0, 5]
    assert counted.total == 8
