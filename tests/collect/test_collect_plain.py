"""The reduction in plain torch: compiled by torch.compile, and where that fails."""

import inspect
import warnings

import numpy as np
import pytest
import torch
from collect_twins import Case, config, identical, on_cpu, run

from neurolocal.collect import plain
from neurolocal.collect.device import DeviceState


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
