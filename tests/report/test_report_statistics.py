"""The statistics of one neuron, as the views print them."""

from dataclasses import replace
from math import isnan

import numpy as np
import pytest

from neurolocal.report.layer import read_layer
from neurolocal.report.statistics import neuron_statistics


@pytest.fixture
def read(small_store):
    return read_layer(small_store(neurons=3), 2)


def test_the_statistics_are_those_of_the_rows(read, small_store):
    store = small_store(neurons=3)
    for neuron in range(3):
        lists = [store.examples(2, neuron, side) for side in ("largest", "smallest")]
        s = neuron_statistics(read, neuron)
        assert s.positions == f"{s.finite:,} positions"
        assert s.finite == sum(len(store.row(int(i))) for i in store.row_index)
        assert (s.maximum, s.minimum) == (lists[0][0].activation, lists[1][0].activation)
        assert s.mean == pytest.approx(read.statistics.mean[neuron])
        assert s.deviation == pytest.approx(read.statistics.variance[neuron] ** 0.5)
        assert 0 < s.positive < 1
        assert list(s.above) == sorted(s.above, reverse=True)
        assert s.positive >= s.above[0]


def test_positions_that_are_not_finite_are_counted(read):
    nonfinite = np.array([2, 0, read.statistics.count])
    changed = replace(read, statistics=replace(read.statistics, nonfinite=nonfinite))
    assert neuron_statistics(changed, 0).nonfinite == 2
    assert neuron_statistics(changed, 0).finite == read.statistics.count - 2
    none = neuron_statistics(changed, 2)
    assert (none.finite, none.above) == (0, ())
    assert all(isnan(value) for value in (none.mean, none.positive, none.kurtosis))


def test_of_an_imported_store_only_the_positions_of_the_page_are_known(read):
    read.store.manifest["source"] = {"site": "neuroscope"}
    nonfinite = np.full(3, 10)
    s = neuron_statistics(replace(read, statistics=replace(read.statistics, nonfinite=nonfinite)), 0)
    assert s.positions == f"{read.statistics.count - 10:,} positions, all that its page shows"
    assert s.nonfinite == 0
