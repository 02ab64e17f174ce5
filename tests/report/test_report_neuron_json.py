"""One neuron for a program: the report's row, whole examples, strict JSON whatever the corpus holds."""

from __future__ import annotations

import json

import pytest

from neurolocal.errors import StoreError
from neurolocal.report import neuron_json, neuron_object, report_object, report_rows


@pytest.mark.parametrize("hostile_corpus", [False, True])
def test_it_is_the_row_of_the_report_with_its_examples(small_store, hostile_corpus) -> None:
    store = small_store(hostile=hostile_corpus)
    rows = report_object(store, report_rows(store, [5]))["neurons"]
    for row in rows:
        found = json.loads(neuron_json(store, 5, row["neuron"]))
        assert {name: found[name] for name in row} == json.loads(json.dumps(row))
        examples = store.examples(5, row["neuron"])
        assert [one["rank"] for one in found["examples"]] == list(range(1, len(examples) + 1))
        for one, true in zip(found["examples"], examples, strict=True):
            assert one["tokens"] == true.tokens.tolist()
            assert one["activations"] == pytest.approx(true.activations.tolist())
            assert one["tokens"][one["peak"]] == true.tokens[true.peak]
            assert one["activations"][one["peak"]] == pytest.approx(one["activation"])
            assert len(one["str_tokens"]) == len(one["tokens"])


def test_statistics_figures_and_the_limit(small_store) -> None:
    store = small_store()
    found = neuron_object(store, 2, 0, limit=2, side="smallest")
    assert (found["format"], found["version"], found["side"]) == ("neurolocal-neuron", 1, "smallest")
    assert len(found["examples"]) == 2
    assert found["examples"][0]["activation"] == -9
    assert found["statistics"]["maximum"] == store.statistics(2).maximum[0]
    names = {figure["name"] for n in range(12) for figure in neuron_object(store, 2, n)["figures"]}
    assert {"coherence", "neighbours keep half"} <= names


def test_a_neuron_that_is_not_in_the_store(small_store) -> None:
    with pytest.raises(StoreError, match="the store holds 12 of its neurons, 0 to 11"):
        neuron_object(small_store(), 2, 12)
