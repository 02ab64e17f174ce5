"""Tables of every stage round-trip with any strings; newer tables replace older ones."""

import dataclasses

import h5py
import numpy as np
import pytest
from content_twins import ANY_TEXT, SEEDS, same
from hypothesis import given, settings
from hypothesis import strategies as st
from store_twins import evidence, made_up, verdict_table
from tables import filled

from neurolocal import records
from neurolocal.errors import StoreError
from neurolocal.store import Store, add_evidence, write_collected


@settings(max_examples=25)
@given(words=st.lists(ANY_TEXT, max_size=3), seed=SEEDS)
def test_evidence_round_trips_with_any_strings(tmp_path_factory, words, seed):
    rng, path, n = np.random.default_rng(seed), tmp_path_factory.mktemp("s") / "a.h5", len(words)
    write_collected(path, made_up(rng))
    gain = np.where(rng.random(n) < 0.5, np.nan, 1).astype(np.float32)
    table = records.SummaryTable(np.arange(n), words, ["llm"] * n, words, words, gain, words, words, words)
    add_evidence(path, [("summary", 0, "smallest", table, {"llm": words})], site="post")
    clean = [w.encode("utf-8", "replace").decode() for w in words]
    with Store(path) as store:
        same(
            store.evidence("summary", 0, "smallest"),
            dataclasses.replace(
                table, **dict.fromkeys(("description", "prompt", "answer", "candidates", "said", "parts"), clean)
            ),
        )
        assert store.inputs("summary", 0, "smallest") == {"llm": words}
        assert store.evidence("summary", 0) is None
        assert store.inputs("summary", 2) is None


def test_every_stage_round_trips_and_gives_way_to_a_newer_table(store_path):
    older = evidence(np.random.default_rng(0))
    with Store(store_path) as store:
        for stage, layer, side, _, inputs in older:
            assert store.inputs(stage, layer, side) == inputs
    newer = evidence(np.random.default_rng(1))[:2]
    with Store(store_path) as store:
        before = store.top(2, "largest")
    add_evidence(store_path, newer, site="post")
    with Store(store_path) as store:
        for stage, layer, side, table, _ in newer:
            same(store.evidence(stage, layer, side), table)
        same(store.evidence("verdict", 2), verdict_table())
        same(store.top(2, "largest"), before)


@settings(max_examples=30)
@given(words=st.lists(ANY_TEXT, min_size=1, max_size=5), times=st.integers(1, 6), seed=SEEDS)
def test_strings_that_are_repeated_are_kept_once_and_read_the_same(tmp_path_factory, words, times, seed):
    path = tmp_path_factory.mktemp("s") / "a.h5"
    write_collected(path, made_up(np.random.default_rng(seed)))
    column = [w.encode("utf-8", "replace").decode() for w in words] * times
    n = len(column)
    subs = records.SubstituteTable(
        np.zeros(n, np.int64), np.zeros(n, np.int32), column, column[::-1], np.zeros(n, np.float32),
        np.zeros(n, np.float32),
    )  # fmt: skip
    table = filled(records.PerturbationTable, [0], substitutes=subs)
    add_evidence(path, [("perturbation", 0, "largest", table, {})], site="post")
    with Store(path) as store:
        same(store.evidence("perturbation", 0), table)
    with h5py.File(path) as file:
        kind = file["perturbation/post/0/largest/substitutes/kind"]
        assert ("index" in kind) == (2 * len(set(column)) <= n)
        assert len(kind["offsets"]) - 1 == (len(set(column)) if "index" in kind else n)


@pytest.mark.parametrize("revision", [1, 2])
def test_a_summary_of_the_first_revision_lacks_two_columns(tmp_path, revision):
    path = tmp_path / "a.h5"
    write_collected(path, made_up(np.random.default_rng(0)))
    two = ["one", "two"]
    table = records.SummaryTable(np.arange(2), two, two, two, two, np.ones(2, np.float32), two, two, two)
    add_evidence(path, [("summary", 0, "largest", table, {"revision": revision})], site="post")
    with h5py.File(path, "r+") as file:
        for name in ("candidates", "said"):
            del file[f"summary/post/0/largest/{name}"]
    with Store(path) as store:
        if revision == 1:
            same(
                store.evidence("summary", 0),
                dataclasses.replace(table, candidates=["", ""], said=["", ""], parts=["", ""]),
            )
        else:
            with pytest.raises(StoreError, match="candidates"):
                store.evidence("summary", 0)


@pytest.mark.parametrize("revision", [1, 2, 3])
def test_a_score_before_the_third_revision_lacks_two_columns(tmp_path, revision):
    path = tmp_path / "a.h5"
    write_collected(path, made_up(np.random.default_rng(0)))
    table = filled(
        records.ScoreTable, [0, 1], measure=["firing_f1"] * 2, said=["", ""], texts=filled(records.ScoredTextTable, [])
    )
    add_evidence(path, [("score", 0, "largest", table, {"revision": revision})], site="post")
    with h5py.File(path, "r+") as file:
        for name in ("p", "q"):
            del file[f"score/post/0/largest/{name}"]
    with Store(path) as store:
        if revision < 3:
            found = store.evidence("score", 0)
            assert found.p.dtype == found.q.dtype == np.float64
            assert np.isnan([found.p, found.q]).all()
            assert found.measure == table.measure
        else:
            with pytest.raises(StoreError, match="score/post/0/largest/p"):
                store.evidence("score", 0)


@pytest.mark.parametrize("revision", [3, 4])
def test_a_score_before_the_fourth_revision_lacks_the_table_of_parts(tmp_path, revision):
    path = tmp_path / "a.h5"
    write_collected(path, made_up(np.random.default_rng(0)))
    table = filled(records.ScoreTable, [0], measure=["firing_f1"], said=[""])
    add_evidence(path, [("score", 0, "largest", table, {"revision": revision})], site="post")
    with h5py.File(path, "r+") as file:
        del file["score/post/0/largest/parts"]
    with Store(path) as store:
        if revision < 4:
            found = store.evidence("score", 0)
            assert dataclasses.asdict(found.parts).keys() == dataclasses.asdict(table.parts).keys()
            assert not len(found.parts.neuron)
            assert found.parts.measure == []
        else:
            with pytest.raises(StoreError, match="parts"):
                store.evidence("score", 0)
