"""Examples are their rows cut to the window; statistics with other conventions are refused."""

import json

import h5py
import numpy as np
import pytest
from content_twins import SEEDS, same
from hypothesis import given, settings
from store_twins import BEFORE, made_up

from neurolocal.errors import StoreError
from neurolocal.store import Store, write, write_collected


def test_statistics_by_other_conventions(store_path):
    with h5py.File(store_path, "r+") as file:
        manifest = json.loads(str(file.attrs["manifest"]))
        write.put_json(file, "manifest", manifest | {"statistics": {"thresholds": [1.0], "histogram_every": 16}})
    with Store(store_path) as store, pytest.raises(StoreError, match="the manifest's statistics are"):
        store.statistics(2)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_an_example_is_its_row_cut_to_the_window(tmp_path_factory, seed):
    made, path = made_up(np.random.default_rng(seed)), tmp_path_factory.mktemp("s") / "a.h5"
    write_collected(path, made)
    rows, top = made.rows(), dict(made.layers)["post", 2].lists["smallest"]
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
