"""What was written is read: a whole collection at every site; questions without an answer are refused."""

import numpy as np
import pytest
from content_twins import ANY_TEXT, SEEDS, same
from hypothesis import given, settings
from hypothesis import strategies as st
from store_twins import NEURONS, made_up, rows_of

from neurolocal.errors import StoreError
from neurolocal.store import Store, write_collected
from neurolocal.words import Vocabulary


def test_questions_that_a_store_cannot_answer(store_path):
    with Store(store_path) as store:
        with pytest.raises(StoreError, match=r"layer 1, 7 in .* holds layers 0,2 \(numbered from 0\). Choose"):
            store.require_layers([0, 1, 7])
        with pytest.raises(StoreError, match=r"neuron 4 of layer 2 in .* it has neurons 0-3\."):
            store.examples(2, 4)
        assert store.require_layers(None) == [0, 2]
        assert store.require_layers([2, 0, 2]) == [0, 2]


@settings(max_examples=30)
@given(
    seed=SEEDS,
    blobs=st.lists(st.binary(max_size=5), min_size=4, max_size=9),
    text=ANY_TEXT,
    cases=st.booleans(),
    effects=st.booleans(),
    stopped=st.booleans(),
    sample=st.integers(0, 9),
    sites=st.permutations(["post", "mid", "pre", "pre_linear"]).flatmap(
        lambda names: st.integers(1, 3).map(lambda n: tuple(names[:n]))
    ),
    neurons=st.none() | st.sets(st.integers(0, 99), min_size=1, max_size=5),
)
def test_a_collection_round_trips(
    tmp_path_factory, seed, blobs, text, cases, effects, stopped, sample, sites, neurons
):  # fmt: skip
    rng, path = np.random.default_rng(seed), tmp_path_factory.mktemp("s") / "a.h5"
    special = rng.random(len(blobs)) < 0.5
    made = made_up(
        rng, vocabulary=Vocabulary(blobs, special), token_count=rng.integers(0, 9, len(blobs)), cases=cases,
        effects=effects, sample=sample, sites=sites, neurons=None if neurons is None else np.array(sorted(neurons)),
        rest=None if stopped else {},
    )  # fmt: skip
    made.manifest["corpus"]["path"] = text
    write_collected(path, made)
    rows = rows_of(made)
    for site in sites:
        with Store(path, site=site) as store:
            assert store.manifest == made.manifest
            assert store.sites == sites
            assert store.site == site
            assert store.layers == [0, 2]
            for (where, layer), record in made.layers:
                if where == site:
                    same(store.record(layer), record)
                    assert store.sides(layer) == list(record.lists)
                    assert store.neurons(layer).tolist() == (sorted(neurons) if neurons else list(range(NEURONS)))
    with Store(path) as store:
        assert store.site == sites[0]
        assert list(store.vocabulary.tokens) == blobs
        np.testing.assert_array_equal(store.vocabulary.special, special)
        np.testing.assert_array_equal(store.token_count, made.token_count)
        same(store.sample, made.sample)
        same(store.rest(), dict(made.rest))
        same(store.parts.columns(), dict(rows.parts))
        for i, row in enumerate(store.iter_rows()):
            np.testing.assert_array_equal(row, rows.tokens[i, : rows.length[i]])


def test_a_site_that_is_not_there(tmp_path):
    write_collected(tmp_path / "a.h5", made_up(np.random.default_rng(0), sites=("pre", "post")))
    with Store(tmp_path / "a.h5", site="mid") as store, pytest.raises(StoreError, match=r"it holds pre, post\. Choose"):
        _ = store.layers


def test_a_store_and_an_example_print_as_one_line(store_path):
    with Store(store_path) as store:
        assert repr(store).startswith(f"<Store {store_path}: ")
        assert "; post of 2 layers; similarity, meanings, perturbation, verdict, intervention, summary, score>" in repr(
            store
        )
        example = store.examples(2, 0)[0]
        assert repr(example).startswith(f"<Example 0: {example.activation:.4g} at position {example.position} of row ")
        assert "array" not in repr(example)
        assert store.text(example).count("<<") >= 1
