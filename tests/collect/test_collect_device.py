"""The state on a device, here the CPU, equals the state of the compiled kernels."""

import numpy as np
from collect_twins import cases, identical, on_cpu, on_device, run
from hypothesis import given, settings


@settings(max_examples=100)
@given(cases())
def test_plain_torch_is_the_same(drawn):
    case, k, batch = drawn
    compiled, plain = run(on_cpu(case, k), case, batch), run(on_device(case, k), case, batch)
    identical(compiled, plain, sums=False)
    size = np.abs(case.values[np.isfinite(case.values)]).max(initial=0)
    if size < 1e4:  # beyond it fourth powers leave the range of exact sums
        for power in (1, 2, 3, 4):
            close = {"rtol": 1e-4, "atol": 1e-5 * size**power + 2.0**-40}
            np.testing.assert_allclose(plain.statistics._raw(power), compiled.statistics._raw(power), **close)
