"""The memory that is predicted for a collection is FORMAT.md's formula."""

import re

import pytest
import torch

from neurolocal.collect.memory import device_bytes, expected_bytes, require_memory, row_bytes, shortage
from neurolocal.collect.triton_state import COPIED, TritonState
from neurolocal.config import CollectConfig
from neurolocal.errors import ConfigError
from neurolocal.machine import free_bytes, total_bytes


def test_the_memory_formula():
    """The page's formula is the program's."""
    for cases in (False, True):
        config = CollectConfig(sites=("post", "pre"), sign_cases=cases, k=7, sample=100, before=5, after=2)
        sides, widths, weights, d_model, vocabulary = 6 if cases else 2, [30, 50], 1000, 16, 70_000
        n = sides * 7 * (4 * 8 + 20) + 120 + 384 + 4 * 100 + 96 * cases + 240 * 5 + 84
        t, e, rows = 4, 4, 300
        kept = min(2 * 80 * (sides * 7 + 10 * 5) + 100, rows) * 256 * t
        slack = 2 * min(max(kept, 2**22 * t), rows * 256 * t)
        batch = 8 * 256 * (4 * 50 + 8 * d_model) * e
        assert (
            expected_bytes(widths, config, weights=weights, d_model=d_model, d_vocab=vocabulary, rows=rows)
            == weights + 2 * 80 * n + 2 * 50 * n + kept + slack + batch
        )


def test_what_does_not_fit_is_said_with_what_to_do():
    """Qwen3-30B-A3B: 48 layers of 128 experts of 768 neurons."""
    widths = [128 * 768] * 48
    config = CollectConfig()
    expected = expected_bytes(widths, config, weights=0, d_model=2048, d_vocab=151_936, rows=10_000)
    line = shortage(widths, config, expected=expected, free=64 * 2**30, row=2**20)
    assert line is not None
    assert line.startswith("4,718,592 neurons in 48 layers at 1 sites may take ")
    assert "64.0 are free" in line
    assert "free. Choose some of them with --layers or --neurons" in line, "one row less does not help"
    assert 65 < expected / 2**30 < 90
    few = CollectConfig(layers=(0, 24))
    expected = expected_bytes(widths, few, weights=0, d_model=2048, d_vocab=151_936, rows=10_000)
    assert shortage(widths, few, expected=expected, free=64 * 2**30, row=2**20) is None
    free = free_bytes()
    assert free is None or free > 2**20


def test_the_batch_size_that_fits_is_named():
    """With it there is no shortage, and with one row more there is."""
    widths, free = [8192] * 16, 8 * 2**30

    def said(size):
        config = CollectConfig(batch_size=size, row_length=1024, k=4, sample=0, max_rows=100)
        expected = expected_bytes(widths, config, weights=0, d_model=2048, d_vocab=50_000)
        return shortage(widths, config, expected=expected, free=free, row=row_bytes(widths, config, d_model=2048))

    line = said(500)
    assert line is not None
    match = re.search(r"Give --batch-size (\d+), which fits; or choose some of them with --layers", line)
    assert match is not None
    fits = int(match[1])
    assert 0 < fits < 500
    assert said(fits) is None
    assert said(fits + 1) is not None


@pytest.mark.parametrize("more", [{"k": 10**7}, {"before": 10**7}, {"sample": 10**7}, {"batch_size": 10**7}])
def test_what_no_memory_holds_is_refused(more):
    config = CollectConfig(row_length=1024, **more)
    with pytest.raises(ConfigError, match=r"the machine has 64\.0\. Choose smaller ones") as caught:
        require_memory([3072] * 12, config, total=64 * 2**30)
    (name,) = more
    assert f"{name} = 10,000,000" in str(caught.value)
    require_memory([3072] * 12, CollectConfig(row_length=1024), total=8 * 2**30)
    assert (total_bytes() or 2**30) > 2**20


@pytest.mark.parametrize("more", [{}, {"sign_cases": True}, {"dedupe": True, "k": 3, "before": 9}])
def test_the_state_on_a_gpu_is_as_large_as_said(more):
    dtype = "bfloat16"
    config = CollectConfig(dtype=dtype, batch_size=4, sample=50, **more)
    state = TritonState(24, config, cases=config.sign_cases, device=torch.device("cpu"))
    state._fit(torch.bfloat16)
    held = sum(getattr(state, f"_{name}").nbytes for name in COPIED)
    sides = 6 if config.sign_cases else 2
    scratch = 4 * 24 * (sides * 8 + 16 + (16 if config.sign_cases else 0))
    assert device_bytes([24], config) == held + scratch
