"""Layers with experts: the state equals a plain loop over neurons and positions, on the CPU and on a device."""

from __future__ import annotations

import numpy as np
import torch
from collect_twins import AFTER, BEFORE, POOL, SEED, config, hash_of, identical
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.collect.device import DeviceState
from neurolocal.collect.merge import merge
from neurolocal.collect.sample import Sampler, merge_samples
from neurolocal.collect.state import CountedBatch, LayerState
from neurolocal.records import CASES, THRESHOLDS, Experts, LayerRecord
from neurolocal.subject.routed import Routed


class Sparse:
    """Activations, gate and in projection of a layer with experts; which positions go to which expert; what counts."""

    def __init__(self, values: np.ndarray, routed: np.ndarray, mask: np.ndarray, rows: np.ndarray, shared: int):
        self.values, self.routed, self.mask, self.rows, self.shared = values, routed, mask, rows, shared
        self.dtype = torch.float32

    @property
    def experts(self) -> Experts:
        n = self.routed.shape[2]
        edges = [e * self.d for e in range(n + 1)] + ([n * self.d + self.shared] if self.shared else [])
        return Experts(np.array(edges, np.int64), int(self.shared > 0), np.zeros(len(edges) - 1, np.int64))

    @property
    def d(self) -> int:
        return (self.values.shape[3] - self.shared) // self.routed.shape[2]

    def tensors(self, part: slice) -> list[Routed]:
        """What a reader receives of some rows: activations, gate, in projection."""
        routed, values = self.routed[part], torch.from_numpy(self.values[:, part]).to(self.dtype)
        n = routed.shape[2]
        expert, b, p = np.nonzero(np.moveaxis(routed, 2, 0))
        offsets = np.searchsorted(expert, np.arange(n + 1))
        token = torch.from_numpy(b * routed.shape[1] + p)
        wide = values[..., : n * self.d].reshape(3, *routed.shape[:2], n, self.d)
        return [
            Routed(
                wide[i][b, p, expert], token, torch.from_numpy(expert), torch.from_numpy(offsets),
                (routed.shape[0], routed.shape[1]), values[i][..., n * self.d :] if self.shared else None,
            )
            for i in range(3)
        ]  # fmt: skip

    def truth(self) -> np.ndarray:
        """(3, batch, pos, neuron); NaN where a position is not routed to the neuron's expert."""
        found = torch.from_numpy(self.values).to(self.dtype).float().numpy().copy()
        for e in range(self.routed.shape[2]):
            own = found[..., e * self.d : (e + 1) * self.d]
            own[:, ~self.routed[:, :, e]] = np.nan
        return found


@st.composite
def sparse_cases(draw):
    """Few rows and experts, ties, NaN and infinities, experts without any position, holes in the mask."""
    n_rows, n_pos, n, d = (draw(st.integers(1, most)) for most in (7, 11, 5, 4))
    shared, top = draw(st.sampled_from([0, 0, 3])), draw(st.integers(1, n))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (3, n_rows, n_pos, n * d + shared)
    kind = draw(st.sampled_from(["ties", "normal", "hostile"]))
    values = (
        rng.integers(-2, 3, shape).astype(np.float32) if kind == "ties" else rng.normal(size=shape).astype(np.float32)
    )
    if kind == "hostile":
        for value in (np.nan, np.inf, -np.inf, -0.0):
            values[rng.random(shape) < 0.1] = value
        # The sign of a NaN is not kept when torch converts it to bfloat16, so a projection that is NaN has no case.
        values[1:][np.isnan(values[1:])] = 1.0
    chosen = rng.random((n_rows, n_pos, n)).argsort(axis=2) < top
    mask = rng.random((n_rows, n_pos)) < draw(st.sampled_from([0.4, 0.9, 1.0]))
    rows = np.sort(rng.choice(1000, n_rows, replace=False)).astype(np.int64)
    case = Sparse(values, chosen, mask, rows, shared)
    case.dtype = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    return case, draw(st.integers(1, 5)), draw(st.integers(1, 8))


def run(state, case: Sparse, batch: int, sampler: Sampler | None = None, rows=None) -> LayerRecord:
    sampler = Sampler(7, seed=SEED) if sampler is None else sampler
    for i in range(0, len(case.rows), batch) if rows is None else rows:
        part = slice(i, i + batch)
        counted = CountedBatch.of(case.rows[part], case.mask[part], sampler)
        x, gate, linear = case.tensors(part)
        state.update(x, (gate, linear), counted, POOL)
    return state.snapshot(sampler.order())


def on_cpu(case: Sparse, k: int, **more) -> LayerState:
    return LayerState(case.values.shape[3], config(k, **more), cases=True, experts=case.experts)


def on_device(case: Sparse, k: int, **more) -> DeviceState:
    return DeviceState(
        case.values.shape[3], config(k, **more), cases=True, experts=case.experts, device=torch.device("cpu")
    )  # fmt: skip


def same(a: LayerRecord, b: LayerRecord, *, sums: bool = True) -> None:
    identical(a, b, sums=sums)
    assert a.experts is not None
    assert b.experts is not None
    np.testing.assert_array_equal(a.experts.count, b.experts.count)


@settings(max_examples=60)
@given(sparse_cases())
def test_the_state_equals_a_plain_loop(drawn):
    case, k, batch = drawn
    x, gate, linear = case.truth()
    record = run(on_cpu(case, k), case, batch)
    statistics, cases = record.statistics, record.cases
    assert cases is not None
    assert record.experts is not None
    for j in range(x.shape[2]):
        expert = record.experts.of(j)[0]
        here = case.routed[:, :, expert] if expert < case.routed.shape[2] else np.ones_like(case.mask)
        assert record.experts.count[expert] == (here & case.mask).sum()
        good = np.isfinite(x[:, :, j]) & case.mask
        values = x[:, :, j][good].astype(np.float64)
        assert statistics.nonfinite[j] == case.mask.sum() - good.sum()
        assert record.unreadable[j] == (here & case.mask).sum() - good.sum()
        assert statistics.positive[j] == (values > 0).sum()
        assert statistics.above[:, j].tolist() == [(values > np.float32(t)).sum() for t in THRESHOLDS]
        assert (statistics.maximum[j], statistics.minimum[j]) == (
            max(values, default=-np.inf),
            min(values, default=np.inf),
        )
        np.testing.assert_allclose(statistics.mean[j], values.mean() if len(values) else np.nan, rtol=1e-5, atol=1e-6)
        drawn_here = np.array([[hash_of(r, p) < 2**60 for p in range(x.shape[1])] for r in case.rows])
        assert statistics.histogram[j].sum() == (good & drawn_here).sum()
        case_of = 2 * np.signbit(gate[:, :, j]) + np.signbit(linear[:, :, j])
        for number, side in enumerate(("largest", "smallest", *CASES)):
            competes = good if number < 2 else good & (case_of == number - 2)
            if number >= 2:
                assert cases.count[number - 2, j] == competes.sum()
            strength = -x[:, :, j] if number == 1 else x[:, :, j] if number == 0 else np.abs(x[:, :, j])
            best = []
            for b, row in enumerate(case.rows):
                at = np.flatnonzero(competes[b])
                if len(at):
                    p = at[np.argmax(strength[b, at])]
                    best.append((-strength[b, p], row, p, b))
            best = sorted(best)[:k]
            top = record.lists[side]
            assert top.row[j].tolist() == [row for _, row, _, _ in best] + [-1] * (k - len(best))
            assert top.position[j].tolist() == [p for _, _, p, _ in best] + [-1] * (k - len(best))
            for rank, (_, _, p, b) in enumerate(best):
                window = np.full(BEFORE + 1 + AFTER, np.nan, np.float32)
                for w in range(len(window)):
                    if 0 <= p - BEFORE + w < x.shape[1]:
                        window[w] = x[b, p - BEFORE + w, j]
                np.testing.assert_array_equal(top.window[j, rank], window)
    ordered = sorted((hash_of(r, p), r, p) for b, r in enumerate(case.rows) for p in np.flatnonzero(case.mask[b]))[:7]
    places = sorted((r, p) for _, r, p in ordered)
    expected = np.array([x[case.rows.tolist().index(r), p] for r, p in places], np.float32).reshape(-1, x.shape[2])
    np.testing.assert_array_equal(record.sample, expected.T)


@settings(max_examples=60)
@given(sparse_cases())
def test_on_a_device_it_is_the_same(drawn):
    case, k, batch = drawn
    same(run(on_cpu(case, k), case, batch), run(on_device(case, k), case, batch), sums=False)


@settings(max_examples=40)
@given(sparse_cases(), st.integers(0, 7))
def test_stopped_and_restored_equals_uninterrupted(drawn, stop):
    case, k, batch = drawn
    starts = list(range(0, len(case.rows), batch))
    for make in (on_cpu, on_device):
        whole = run(make(case, k), case, batch)
        sampler, first, second, again = Sampler(7, seed=SEED), make(case, k), make(case, k), Sampler(7, seed=SEED)
        record, kept = run(first, case, batch, sampler, rows=starts[:stop]), sampler.snapshot()
        again.restore(kept)
        second.restore(record)
        same(whole, run(second, case, batch, again, rows=starts[stop:]))


@settings(max_examples=40)
@given(sparse_cases())
def test_two_parts_are_the_whole(drawn):
    case, k, batch = drawn
    starts = list(range(0, len(case.rows), batch))
    samplers = [Sampler(7, seed=SEED) for _ in range(2)]
    a, b = (run(on_cpu(case, k), case, batch, s, rows=starts[i::2]) for i, s in enumerate(samplers))
    _, order = merge_samples(samplers[0].snapshot(), samplers[1].snapshot(), size=7, seed=SEED)
    both = merge(a, b, sample=order, seed=SEED)
    whole = run(on_cpu(case, k), case, batch)
    same(whole, both)


@settings(max_examples=40)
@given(sparse_cases(), st.data())
def test_a_subset_of_neurons_is_those_of_the_whole(drawn, data):
    case, k, batch = drawn
    chosen = tuple(sorted(data.draw(st.sets(st.integers(0, case.values.shape[3] - 1), min_size=1))))
    whole = run(on_cpu(case, k), case, batch)
    for make in (on_cpu, on_device):
        some, at = run(make(case, k, neurons=chosen), case, batch), list(chosen)
        for side, top in some.lists.items():
            np.testing.assert_array_equal(top.activation, whole.lists[side].activation[at])
            np.testing.assert_array_equal(top.window, whole.lists[side].window[at])
        for name in ("histogram", "nonfinite", "positive"):
            np.testing.assert_array_equal(getattr(some.statistics, name), getattr(whole.statistics, name)[at])
        np.testing.assert_array_equal(some.sample, whole.sample[at])
        np.testing.assert_array_equal(some.unreadable, whole.unreadable[at])
        assert some.experts is not None
        assert whole.experts is not None
        np.testing.assert_array_equal(some.experts.count, whole.experts.count)
