"""The state on a device, here the CPU, equals the state of the compiled kernels."""

from collect_twins import cases, identical, on_cpu, on_device, run
from hypothesis import given, settings


@settings(max_examples=100, deadline=None)
@given(cases())
def test_plain_torch_is_the_same(drawn):
    case, k, batch = drawn
    identical(run(on_cpu(case, k), case, batch), run(on_device(case, k), case, batch), sums=False)
