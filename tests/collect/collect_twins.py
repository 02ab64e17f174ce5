"""What the tests of states share: random activations, a brute-force reference, and runs over batches."""

from __future__ import annotations

import struct

import numpy as np
import torch
from hypothesis import strategies as st

from neurolocal.collect.device import DeviceState
from neurolocal.collect.sample import Sampler
from neurolocal.collect.state import CountedBatch, LayerState
from neurolocal.collect.workers import Workers
from neurolocal.config import CollectConfig
from neurolocal.records import (
    LayerRecord,
)

POOL = Workers(2)
BEFORE, AFTER, SEED = 3, 2, 5


def config(k: int, **more) -> CollectConfig:
    return CollectConfig(k=k, before=BEFORE, after=AFTER, seed=SEED, **({"sample": 7, "bands": 2} | more))


def splitmix64(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def hash_of(row: int, position: int) -> int:
    return splitmix64(splitmix64(splitmix64(SEED) ^ int(row)) ^ int(position))


class Case:
    """Activations with their gate and in projection's outputs, what counts, and row numbers."""

    def __init__(self, x, gate, linear, mask, rows, text=None):
        self.x, self.gate, self.linear, self.mask, self.rows, self.text = x, gate, linear, mask, rows, text

    @property
    def values(self) -> np.ndarray:
        return self.x.float().numpy()

    def case_number(self, b: int, p: int, j: int) -> int:
        negative = [struct.pack(">f", float(t[b, p, j]))[0] >> 7 for t in (self.gate, self.linear)]
        return 2 * negative[0] + negative[1]


def run(state, case: Case, batch: int, sampler: Sampler | None = None, rows=None) -> LayerRecord:
    """Batches of the case into a state; `rows` chooses batches by their first row."""
    sampler = Sampler(7, seed=SEED) if sampler is None else sampler
    for i in range(0, len(case.x), batch) if rows is None else rows:
        part = slice(i, i + batch)
        text = None if case.text is None else case.text[part]
        counted = CountedBatch.of(case.rows[part], case.mask[part], sampler, text=text)
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
    assert (a.bands is None) == (b.bands is None)
    for name in ("activation", "row", "position", "count") if a.bands else ():
        np.testing.assert_array_equal(getattr(a.bands, name), getattr(b.bands, name))
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
    return DeviceState(case.x.shape[2], config(k, **more), cases=True, device=torch.device("cpu"))
