"""A state on the CPU: restored from a snapshot, of chosen neurons, and the counted ranges of a batch."""

import numpy as np
from collect_twins import SEED, cases, identical, on_cpu, on_device, run
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.collect.sample import Sampler
from neurolocal.collect.state import CountedBatch


@settings(max_examples=60)
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


@settings(max_examples=60)
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


def test_counted_ranges():
    mask = np.array([[0, 1, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=bool)
    counted = CountedBatch.of(np.arange(3), mask, Sampler(0, seed=0))
    assert counted.runs[0].tolist() == [[1, 3], [4, 5]]
    assert counted.n_runs.tolist() == [2, 0, 1]
    assert counted.runs[2, 0].tolist() == [0, 5]
    assert counted.total == 8
