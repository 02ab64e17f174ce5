"""The GPU's kernels, run by Triton's interpreter on the CPU: the same lists, counts and sums as the CPU's kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from collect_twins import SEED, Case, cases, config, identical, on_cpu, run
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal

from neurolocal.collect import triton_state
from neurolocal.collect.sample import Sampler
from neurolocal.collect.triton_state import TritonState, on_device
from neurolocal.records import LayerRecord

pytest.importorskip("triton", reason="the GPU's kernels need triton, which comes with the extra `dev`")


def on_triton(case: Case, k: int, *, sign_cases: bool = True, **more: Any) -> TritonState:
    return TritonState(case.x.shape[2], config(k, **more), cases=sign_cases, device=torch.device("cpu"))


def same(a: LayerRecord, b: LayerRecord) -> None:
    """Equal bit for bit, sums to rounding."""
    identical(a, b, sums=False)
    for side in a.lists:
        if a.lists[side].text is not None:
            assert_array_equal(a.lists[side].text, b.lists[side].text)
    for x, y in ((a.statistics, b.statistics), (a.cases, b.cases)):
        if x is not None and y is not None:
            assert_allclose(x.whole + x.fraction * 2.0**-60, y.whole + y.fraction * 2.0**-60, rtol=2e-5, atol=2e-3)


def made(rng: np.random.Generator, shape: tuple[int, int, int], dtype: torch.dtype, *, ties: bool = False) -> Case:
    x, gate, linear = (rng.normal(size=shape).astype(np.float32) for _ in range(3))
    x = np.round(x * 2) / 2 if ties else x
    mask = rng.random(shape[:2]) < 0.8
    rows = np.sort(rng.choice(10_000_000_000, shape[0], replace=False)).astype(np.int64)
    return Case(*(torch.from_numpy(a).to(dtype) for a in (x, gate, linear)), mask, rows)


@settings(max_examples=10)
@given(cases())
def test_it_equals_the_cpu(drawn):
    """Ties, NaN, infinities, zeros of both signs, holes in the mask, every dtype; no overflow of a float32's powers."""
    case, k, batch = drawn
    case.x[case.x.float().abs() > 1e9] = 5.0
    same(run(on_cpu(case, k), case, batch), run(on_triton(case, k), case, batch))


@pytest.mark.parametrize(
    ("shape", "k", "batch", "more"),
    [
        ((7, 5, 3), 1, 3, {}),
        # More rows a batch than are read at a time, lists that fill a warp's registers.
        pytest.param((140, 3, 2), 130, 70, {}, marks=pytest.mark.slow),
        pytest.param((6, 21, 150), 4, 6, {}, marks=pytest.mark.slow),  # more neurons than a tile
        ((9, 30, 5), 5, 9, {"before": 40, "after": 40}),  # windows beyond both ends, wider than what is cut at a time
        ((9, 12, 5), 3, 5, {"neurons": (1, 4)}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_shapes(rng, shape, k, batch, more, dtype):
    case = made(rng, shape, dtype, ties=True)
    ours = more | ({"before": 3, "after": 2} if "before" not in more else {})
    a, b = (state(case, k, ours) for state in (_cpu, _triton))
    same(run(a, case, batch), run(b, case, batch))


def _cpu(case: Case, k: int, more: dict[str, Any]) -> Any:
    from neurolocal.collect.state import LayerState

    return LayerState(case.x.shape[2], _config(k, more), cases=True)


def _triton(case: Case, k: int, more: dict[str, Any]) -> TritonState:
    return TritonState(case.x.shape[2], _config(k, more), cases=True, device=torch.device("cpu"))


def _config(k: int, more: dict[str, Any]) -> Any:
    from neurolocal.config import CollectConfig

    return CollectConfig(k=k, seed=SEED, **({"sample": 7} | more))


def test_texts_once(rng):
    for _ in range(2):
        case = made(rng, (10, 6, 4), torch.bfloat16, ties=True)
        case.text = rng.integers(-3, 3, (12, 6)) * (2**61)
        same(run(on_cpu(case, 4, dedupe=True), case, 5), run(on_triton(case, 4, dedupe=True), case, 5))


def test_without_sign_cases_and_strided(rng):
    """Half of a fused projection is a view: neurons are next to one another, positions are not."""
    whole = torch.from_numpy(rng.normal(size=(6, 9, 14)).astype(np.float32))
    mask, rows = np.ones((6, 9), bool), np.arange(6, dtype=np.int64)
    case = Case(whole[:, :, :7], whole[:, :, 7:], whole[:, :, 7:], mask, rows)
    a = run(on_cpu(case, 3), case, 2)
    same(a, run(on_triton(case, 3), case, 2))
    alone = run(on_triton(case, 3, sign_cases=False), case, 2)
    for side in ("largest", "smallest"):
        assert_array_equal(alone.lists[side].row, a.lists[side].row)
    assert alone.cases is None


def test_a_restored_state_goes_on_as_if_uninterrupted(rng):
    case = made(rng, (8, 5, 4), torch.bfloat16)
    sampler = Sampler(7, seed=SEED)
    first = run(on_triton(case, 3), case, 4, sampler, rows=[0])
    state, own = on_triton(case, 3), Sampler(7, seed=SEED)
    state.restore(first)
    own.restore(sampler.snapshot())
    identical(run(on_triton(case, 3), case, 4), run(state, case, 4, own, rows=[4]))


def test_a_frozen_state_does_not_change(rng):
    case = made(rng, (8, 5, 4), torch.float32)
    state, sampler = on_triton(case, 3), Sampler(7, seed=SEED)
    before = run(state, case, 4, sampler, rows=[0])
    frozen, order = state.frozen(), sampler.order()
    run(state, case, 4, sampler, rows=[4])
    identical(before, frozen.snapshot(order))


def test_windows_keep_the_dtype_where_it_loses_nothing(rng):
    half, full = (made(rng, (6, 7, 5), dtype) for dtype in (torch.bfloat16, torch.float32))
    state = on_triton(half, 3)
    run(state, half, 3)
    assert (state._window.dtype, state._sample.dtype) == (torch.bfloat16, torch.bfloat16)
    sampler = Sampler(7, seed=SEED)
    mixed, twin = on_triton(half, 3), on_cpu(half, 3)
    full.rows = half.rows + half.rows.max() + 1
    for case in (half, full):
        identical(*(run(s, case, 3, Sampler(7, seed=SEED)) for s in (twin, mixed)), sums=False)
    assert mixed._window.dtype == torch.float32
    assert sampler.used == 0


def test_kernels_run_on_the_layers_device(rng, monkeypatch):
    """Triton launches on the current device; a layer may be on another one."""
    inside, launched = list[torch.device](), list[list[torch.device]]()

    @contextmanager
    def current(device: torch.device):
        inside.append(device)
        yield
        inside.pop()

    case, launch = made(rng, (2, 3, 2), torch.float32), TritonState._launch
    monkeypatch.setattr(triton_state, "on_device", current)
    monkeypatch.setattr(TritonState, "_launch", lambda *a: (launched.append(list(inside)), launch(*a)))
    run(on_triton(case, 1), case, 2)
    assert launched == [[torch.device("cpu")]]
    assert isinstance(on_device(torch.device("cpu")), nullcontext)
    assert vars(on_device(torch.device("cuda", 3)))["idx"] == 3


@pytest.mark.slow
def test_long_rows_do_not_overflow_the_small_counts():
    """Counts of 10 bits are emptied after 1,000 steps of 8 positions."""
    x = torch.ones((1, 8 * 1100, 1))
    case = Case(x, x, x, np.ones((1, 8800), bool), np.zeros(1, np.int64))
    found = run(on_triton(case, 1), case, 1)
    assert found.statistics.positive.tolist() == [8800]
    assert found.cases is not None
    assert found.cases.count.ravel().tolist() == [8800, 0, 0, 0]


@pytest.mark.slow
def test_the_kernels_compile_for_gpus_and_keep_everything_in_registers():
    """The interpreter accepts more than the compiler does."""
    script = Path(__file__).parents[2] / "scripts" / "compile_kernels.py"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(script), "--capability", "80", "90"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith("sm_90 ")]) == len(lines) / 2 == 24
    assert not [line for line in lines if "SPILLS" in line]
