"""Rows of any width, an empty collection, and the shares of subsets."""

import h5py
import numpy as np
from content_twins import SEEDS
from hypothesis import given, settings
from store_twins import NEURONS, made_up, rows_of

from neurolocal.provenance import Parts
from neurolocal.store import Store, StoredRows, write_collected
from neurolocal.words import Vocabulary


@settings(max_examples=15)
@given(seed=SEEDS)
def test_the_shares_of_subsets_are_counted_example_by_example(tmp_path_factory, seed):
    made, path = made_up(np.random.default_rng(seed)), tmp_path_factory.mktemp("s") / "a.h5"
    write_collected(path, made)
    parts = rows_of(made).parts
    with Store(path) as store:
        for side, top in dict(made.layers)["post", 2].lists.items():
            shares = store.subsets(2, side)
            for neuron in range(NEURONS):
                names = []
                for row, at in zip(top.row[neuron], top.position[neuron], strict=True):
                    if row >= 0:
                        low, high = parts["offsets"][row], parts["offsets"][row + 1]
                        part = max(p for p in range(low, high) if parts["position"][p] <= at)
                        names.append(parts["subsets"][parts["subset"][part]])
                for i, name in enumerate(store.parts.subsets):
                    wanted = names.count(name) / len(names) if names else np.nan
                    assert shares[neuron, i] == np.float32(wanted) or (not names and np.isnan(shares[neuron, i]))


def test_empty_collection_and_wide_vocabulary(tmp_path):
    """A shard may hold no row; 70,000 token ids need uint32."""
    rng = np.random.default_rng(0)
    none = np.empty(0, np.int64)
    rows = StoredRows(np.empty((0, 7), np.int64), none, none, Parts.empty().columns())
    write_collected(tmp_path / "a.h5", made_up(rng, layers=(), rows=rows, rest={}))
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.asarray(file["rows/tokens"]).dtype == np.dtype("<u2")
    with Store(tmp_path / "a.h5") as store:
        assert list(store.iter_rows()) == []
        assert store.rest() == {}
        assert len(store.parts) == 0
        assert len(store.sample.row) == 0
    n = 70_000
    wide = made_up(rng, vocabulary=Vocabulary([b"x"] * n, np.zeros(n, bool)), token_count=np.zeros(n, np.int64))
    rows_of(wide).tokens[0, 0] = n - 1
    write_collected(tmp_path / "b.h5", wide)
    with Store(tmp_path / "b.h5") as store:
        assert store.row(0)[0] == n - 1
