"""The index equals a slow reference that reads all examples, on random stores; it is rebuilt where a store has none."""

import dataclasses

import h5py
import numpy as np
import pytest
from find_twins import agree, asked, collection, has_no_more_than, one_neuron, twin, without_index
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.errors import StoreError
from neurolocal.store import Match, write_collected

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=12)
@given(seed=SEEDS, ties=st.booleans(), sites=st.sampled_from([("post",), ("pre", "post")]), chosen=st.booleans())
def test_find_equals_the_twin(tmp_path_factory, seed, ties, sites, chosen):
    rng, path = np.random.default_rng(seed), tmp_path_factory.mktemp("s") / "a.h5"
    write_collected(path, collection(rng, ties=ties, sites=sites, neurons=np.array([2, 3, 11]) if chosen else None))
    true = agree(path, rng)
    has_no_more_than(true, path)
    agree(without_index(path), rng, true=true, most=1)


def test_words_are_case_folded_and_not_only_lowered(tmp_path):
    path = one_neuron(tmp_path / "a.h5", [b" ", "Straße".encode(), b"."], [1])
    assert asked(path, "STRASSE") == asked(path, "straße") == [Match("post", 0, 4, 1, 1.0, 1.0, "word")]


def test_a_checkpoint_has_no_index_and_is_searched_all_the_same(rng, tmp_path):
    whole, stopped = tmp_path / "a.h5", tmp_path / "b.h5"
    made = collection(rng)
    write_collected(whole, made)
    write_collected(stopped, dataclasses.replace(made, manifest=made.manifest | {"complete": False}))
    with h5py.File(stopped) as file:
        assert "find" not in file
    agree(stopped, rng, true=twin(whole))


def test_lists_that_lead_nowhere_are_refused_when_the_index_is_made_of_them(poly):
    with h5py.File(without_index(poly), "r+") as file:
        file["collect/post/0/largest/position"][0, 0] = 3
    with pytest.raises(StoreError, match="not in rows"):
        asked(poly, " poly")
