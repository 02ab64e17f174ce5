"""The bands of a neuron: their range, their rows, and examples around the peak, in JSON and on the terminal."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest

from neurolocal.records import N_BANDS, Bands, histogram_edges
from neurolocal.report import neuron_object
from neurolocal.report.intervals import AFTER, BEFORE
from neurolocal.report.neuron import show
from neurolocal.report.page import page


@pytest.fixture
def banded(small_store, monkeypatch):
    """A store whose bands are its largest examples, sorted into bins one by one."""
    store = small_store()
    neurons, top = len(store.neurons(5)), store.top(5, "largest")
    shape = (neurons, N_BANDS, 2)
    bands = Bands(
        np.full(shape, np.nan, np.float32),
        np.full(shape, -1, np.int64),
        np.full(shape, -1, np.int32),
        np.zeros(shape[:2], np.int64),
    )
    edges, maximum = histogram_edges(), store.statistics(5).maximum
    for j in range(neurons):
        first = sum(edge <= maximum[j] for edge in edges)
        for activation, row, position in zip(top.activation[j], top.row[j], top.position[j], strict=True):
            band = first - sum(edge <= activation for edge in edges) if row >= 0 and activation > 0 else N_BANDS
            if band < N_BANDS:
                if (slot := bands.count[j, band]) < 2:
                    bands.activation[j, band, slot] = activation
                    bands.row[j, band, slot], bands.position[j, band, slot] = row, position
                bands.count[j, band] += 1
    monkeypatch.setattr(
        store, "bands", lambda layer, chosen=slice(None): Bands(*(getattr(bands, n)[chosen] for n in vars(bands)))
    )
    return store, bands


def test_each_band_has_its_range_its_rows_and_its_examples(banded):
    store, bands = banded
    for j, maximum in enumerate(store.statistics(5).maximum.tolist()):
        found = neuron_object(store, 5, j)["intervals"]
        assert [one["rows"] for one in found] == [n for n in bands.count[j].tolist() if n]
        assert len(found) > 0
        for one in found:
            assert one["low_share"] == pytest.approx(one["low"] / maximum)
            assert one["low"] == 0 or math.log2(one["high"] / one["low"]) < 0.6
            assert 0 < len(one["examples"]) <= min(one["rows"], 2)
            for example in one["examples"]:
                assert one["low"] <= example["activation"] <= one["high"] <= maximum
                tokens, position = store.row(example["row"]), example["position"]
                assert example["tokens"][example["peak"]] == tokens[position]
                assert example["tokens"] == tokens[max(0, position - BEFORE) : position + AFTER + 1].tolist()


def test_the_terminal_marks_the_peak_and_another_side_has_no_bands(banded):
    store, bands = banded
    out = io.StringIO()
    show(store, 5, 0, out=out, width=80)
    part = out.getvalue().split("by interval")[1].split("\nwords")[0]
    assert part.count("[[") == sum(min(n, 2) for n in bands.count[0])
    assert part.count("of the maximum") == (bands.count[0] > 0).sum()
    assert neuron_object(store, 5, 0, side="smallest")["intervals"] == []


def test_the_page_has_two_rows_a_band_on_each_card(banded):
    store, bands = banded
    text = page(store, [5], cards=2)
    cards = text.split('<article class="card')[1:]
    assert len(cards) == 2
    for card in cards:
        neuron = int(card.split('id="n-5-')[1].split('"')[0])
        part = card.split('<dl class="intervals">')[1].split("</dl>")[0]
        assert part.count("<dt>") == (bands.count[neuron] > 0).sum()
        assert part.count("<dd>") == part.count("<mark>") == np.minimum(bands.count[neuron], 2).sum()
    assert '<dl class="intervals">' not in page(store, [5], side="smallest", cards=2)
