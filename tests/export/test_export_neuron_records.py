"""Neuron records: the package that the form is of loads them, and they say what the store says."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from neurolocal.errors import StoreError
from neurolocal.export.neuron_records import export_neuron_records


@pytest.fixture
def package(monkeypatch) -> ModuleType:
    """`automated-interpretability`. Clients of cloud storage that it imports, and local files do not need, may lack."""
    pytest.importorskip("neuron_explainer", reason="pip install --no-deps automated-interpretability==0.0.24")
    for client in ("blobfile", "boostedblob"):
        if importlib.util.find_spec(client) is None:
            monkeypatch.setitem(sys.modules, client, SimpleNamespace(ensure_session=lambda function: function))
    return importlib.import_module("neuron_explainer.activations.activations")


def test_the_package_loads_every_neuron_as_the_store_has_it(package, small_store, tmp_path):
    store = small_store(hostile=True)
    assert export_neuron_records(store, tmp_path, layers=[5], bar=False) == 12
    for neuron in range(12):
        record = package.load_neuron(5, neuron, (tmp_path / "neurons").as_uri())
        assert isinstance(record, package.NeuronRecord)
        assert record.neuron_id == package.NeuronId(layer_index=5, neuron_index=neuron)
        s = store.statistics(5)
        for name in ("mean", "variance", "skewness", "kurtosis"):
            value = float(getattr(s, name)[neuron])
            assert getattr(record, name) == (None if math.isnan(value) else value)
        examples = store.examples(5, neuron)
        assert [type(r) for r in record.most_positive_activation_records] == [package.ActivationRecord] * len(examples)
        for made, e in zip(record.most_positive_activation_records, examples, strict=True):
            assert made.tokens == store.vocabulary.str_tokens(e.tokens)
            assert np.array_equal(np.float32(made.activations), e.activations)
        assert record.max_activation == pytest.approx(max(e.activation for e in examples), rel=1e-6)


def test_its_splits_and_prompts_work(package, small_store, tmp_path):
    records = importlib.import_module("neuron_explainer.activations.activation_records")
    export_neuron_records(small_store(), tmp_path, layers=[2], bar=False)
    record = package.load_neuron(2, 0, (tmp_path / "neurons").as_uri())
    train = record.train_activation_records(package.ActivationRecordSliceParams(n_examples_per_split=1))
    assert [r.activations for r in train] == [record.most_positive_activation_records[0].activations]
    text = records.format_activation_records(train, records.calculate_max_activation(train))
    assert "\t10\n" in text


def test_what_does_not_compete_is_zero(small_store, tmp_path, monkeypatch):
    """A prepended BOS may have any activation; the largest value of a record is the peak's."""
    store = small_store(seed=4)
    monkeypatch.setitem(store.manifest["config"], "bos", "prepend")
    export_neuron_records(store, tmp_path, layers=[2], bar=False)
    at_start = 0
    for neuron in range(12):
        found = json.loads((tmp_path / "neurons" / "2" / f"{neuron}.json").read_bytes())
        for made, e in zip(found["most_positive_activation_records"], store.examples(2, neuron), strict=True):
            if e.start == 0:
                at_start += 1
                assert made["activations"][0] == 0
            assert np.array_equal(np.float32(made["activations"][1:]), e.activations[1:])
    assert at_start > 9


def test_an_activation_that_is_not_finite_is_zero(small_store, tmp_path, monkeypatch):
    store = small_store()
    lists = type(store).example_lists

    def with_nan(*arguments):
        found = lists(*arguments)
        found[0][0].activations[:] = [np.nan, np.inf, *found[0][0].activations[2:]][: len(found[0][0].activations)]
        return found

    monkeypatch.setattr(type(store), "example_lists", with_nan)
    export_neuron_records(store, tmp_path, layers=[2], bar=False)
    found = json.loads((tmp_path / "neurons" / "2" / "0.json").read_bytes(), parse_constant=pytest.fail)
    assert found["most_positive_activation_records"][0]["activations"][0] == 0


def test_the_manifest_comes_last_and_a_foreign_folder_is_left(small_store, tmp_path):
    export_neuron_records(small_store(), tmp_path / "a", bar=False)
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert (manifest["format"], manifest["files"]) == ("neurolocal-export", "neuron-records")
    assert manifest["layers"] == [2, 5]
    (tmp_path / "a" / "manifest.json").write_text("{}")
    with pytest.raises(StoreError, match=r"holds a manifest.json of something else"):
        export_neuron_records(small_store(), tmp_path / "a", bar=False)
    blocked = tmp_path / "b" / "neurons"
    blocked.parent.mkdir()
    blocked.write_text("")
    with pytest.raises(StoreError, match=r"exporting to .*neurons.*Choose"):
        export_neuron_records(small_store(), Path(tmp_path / "b"), bar=False)
