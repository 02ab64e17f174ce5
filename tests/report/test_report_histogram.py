"""The histogram in the views: its bars are the counts of the store."""

import re
from dataclasses import replace
from math import inf, log

import numpy as np
import pytest

from neurolocal.records import BINS, histogram_edges
from neurolocal.report.histogram import BLOCKS, HEIGHT, WIDTH, bins, histogram
from neurolocal.report.layer import read_layer


@pytest.fixture
def read(small_store):
    return read_layer(small_store(neurons=5), 2)


def test_the_bars_are_those_of_the_values(read, small_store):
    store = small_store(neurons=5)
    for neuron in range(5):
        drawn = histogram(read, neuron)
        assert drawn is not None
        counts = read.statistics.histogram[neuron]
        assert sum(drawn.counts) == counts.sum() == drawn.sampled
        assert bins(read, neuron) == {i: n for i, n in enumerate(counts.tolist()) if n}
        s = read.statistics
        assert drawn.low <= s.minimum[neuron]
        assert s.maximum[neuron] <= drawn.high
        assert sum(drawn.counts[: drawn.negative]) + s.positive[neuron] <= drawn.sampled
        assert len(drawn.text.split("|")[0].rstrip(BLOCKS + " ")) < 12
        bars = re.findall(r"M(\d+) \d+v-([\d.]+)", drawn.path)
        most = max(drawn.counts)
        for x, h in bars:
            count = drawn.counts[int(x) // WIDTH]
            assert float(h) == pytest.approx(HEIGHT * log(1 + count) / log(1 + most), abs=0.06)
        assert len(bars) == sum(n > 0 for n in drawn.counts)
    assert store.k(2) == 4


def test_nothing_drawn_and_the_outermost_bins(read):
    empty = np.zeros_like(read.statistics.histogram)
    nothing = replace(read, statistics=replace(read.statistics, histogram=empty))
    assert histogram(nothing, 0) is None
    assert bins(nothing, 0) == {}
    ends = empty.copy()
    ends[0, [0, BINS - 1]] = 1
    drawn = histogram(replace(read, statistics=replace(read.statistics, histogram=ends)), 0)
    assert drawn is not None
    assert (drawn.low, drawn.high, drawn.negative, len(drawn.counts)) == (-inf, inf, BINS // 2, BINS)
    assert len(histogram_edges()) == BINS + 1
