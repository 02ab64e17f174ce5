"""Examples are their rows cut to the window; other conventions, impossible experts and short columns are refused."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
from content_twins import SEEDS, same
from hypothesis import given, settings
from store_twins import BEFORE, made_up, rows_of

from neurolocal.errors import StoreError
from neurolocal.records import Experts
from neurolocal.store import Store, write, write_collected


def test_statistics_by_other_conventions(store_path):
    with h5py.File(store_path, "r+") as file:
        manifest = json.loads(str(file.attrs["manifest"]))
        write.put_json(file, "manifest", manifest | {"statistics": {"thresholds": [1.0], "histogram_every": 16}})
    with Store(store_path) as store, pytest.raises(StoreError, match="the manifest's statistics are"):
        store.statistics(2)


@settings(max_examples=15)
@given(seed=SEEDS)
def test_an_example_is_its_row_cut_to_the_window(tmp_path_factory, seed):
    made, path = made_up(np.random.default_rng(seed)), tmp_path_factory.mktemp("s") / "a.h5"
    write_collected(path, made)
    rows, top = rows_of(made), dict(made.layers)["post", 2].lists["smallest"]
    with Store(path) as store:
        for neuron, listed in enumerate(store.example_lists(2, "smallest")):
            assert len(listed) == (top.row[neuron] >= 0).sum()
            alone = store.examples(2, neuron, "smallest")
            for rank, example in enumerate(listed):
                row, at = top.row[neuron, rank], top.position[neuron, rank]
                around = [p for p in range(at - BEFORE, at + 3) if 0 <= p < rows.length[row]]
                assert (example.rank, example.row, example.position, example.start) == (rank, row, at, around[0])
                np.testing.assert_array_equal(example.tokens, rows.tokens[row, around])
                np.testing.assert_array_equal(
                    example.activations, top.window[neuron, rank, [p - at + BEFORE for p in around]]
                )
                same(example, alone[rank])


def with_experts(path, *, shared):
    """Write a store of layers with three experts; the layer's 4 neurons are of the first and the second."""
    made = made_up(np.random.default_rng(3))
    experts = Experts(np.array([0, 1, 4, 6]), shared, np.array([7, 0, 45]))
    layers = [(place, dataclasses.replace(record, experts=experts)) for place, record in made.layers]
    write_collected(path, dataclasses.replace(made, layers=layers))
    return experts


@pytest.mark.parametrize("shared", [0, 1])
def test_experts_are_read_as_they_were_written(tmp_path, shared):
    written = with_experts(tmp_path / "a.h5", shared=shared)
    with Store(tmp_path / "a.h5") as store:
        same(store.experts(2), written)


@pytest.mark.parametrize(
    ("name", "forged", "says"),
    [
        ("offsets", [1, 2, 4, 6], "offsets does not rise from 0"),
        ("offsets", [0, 2, 2, 6], "offsets does not rise from 0"),
        ("offsets", [0], "offsets does not rise from 0"),
        ("offsets", [0, 1, 2, 3], "offsets ends at 3, before neuron 3"),
        ("shared", 2, "counts 3 experts, 2 of them shared, and has 3"),
        ("shared", -1, "counts 3 experts, -1 of them shared, and has 3"),
        ("count", [7, 0], "counts 2 experts, 1 of them shared, and has 3"),
        ("count", [7, 0, 46], "count counts more positions than there were"),
        ("count", [7, -1, 45], "count counts more positions than there were"),
    ],
)
def test_experts_that_do_not_add_up_are_refused(tmp_path, name, forged, says):
    with_experts(tmp_path / "a.h5", shared=1)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file[f"collect/post/2/experts/{name}"]
        file[f"collect/post/2/experts/{name}"] = np.array(forged, np.int64)
    with Store(tmp_path / "a.h5") as store, pytest.raises(StoreError, match=says):
        store.experts(2)


@pytest.mark.parametrize("neurons", [3, 5])
def test_logit_effects_of_another_number_of_neurons_are_refused(store_path, neurons):
    with h5py.File(store_path, "r+") as file:
        for column in ("promoted", "promoted_effect", "suppressed", "suppressed_effect"):
            old = np.asarray(file[f"collect/post/2/logits/{column}"])
            del file[f"collect/post/2/logits/{column}"]
            file[f"collect/post/2/logits/{column}"] = np.resize(old, (neurons, old.shape[1]))
    with Store(store_path) as store, pytest.raises(StoreError, match=r"the columns of .*logits differ in shape"):
        store.logit_effects(2)


@pytest.mark.parametrize("count", [-1, (1 << 63) - 1])
def test_a_count_that_no_collection_has(store_path, count):
    with Store(store_path) as store:
        layer = store.layers[0]
    with h5py.File(store_path, "r+") as file:
        file[f"collect/post/{layer}/statistics/count"][()] = count
    with Store(store_path) as store, pytest.raises(StoreError, match="which no collection counts"):
        store.statistics(layer)
