"""What is written is what is read, whatever the strings; older evidence gives way, failures leave no trace."""

import dataclasses
import errno

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_twins import BEFORE, NEURONS, evidence, made_up, verdict_table
from tables import filled

from neurolocal import records
from neurolocal.errors import StoreError
from neurolocal.provenance import Parts
from neurolocal.store import Store, StoredRows, add_evidence, write, write_collected
from neurolocal.words import Vocabulary

SEEDS = st.integers(0, 2**32 - 1)
ANY_TEXT = st.text(st.characters(), max_size=8) | st.sampled_from(["\x00", "a\x00", "\ud800", "e\u0301\n", ""])


def same(a, b):
    """Two records hold the same, NaN equal to NaN."""
    assert type(a) is type(b)
    if dataclasses.is_dataclass(a):
        for column in dataclasses.fields(a):
            same(getattr(a, column.name), getattr(b, column.name))
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for name in a:
            same(a[name], b[name])
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


@settings(max_examples=30, deadline=None)
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
    rows = made.rows()
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


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_shares_of_subsets_are_counted_example_by_example(tmp_path_factory, seed):
    made, path = made_up(np.random.default_rng(seed)), tmp_path_factory.mktemp("s") / "a.h5"
    write_collected(path, made)
    parts = made.rows().parts
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


def test_a_site_that_is_not_there(tmp_path):
    write_collected(tmp_path / "a.h5", made_up(np.random.default_rng(0), sites=("pre", "post")))
    with Store(tmp_path / "a.h5", site="mid") as store, pytest.raises(StoreError, match=r"it holds pre, post\. Choose"):
        _ = store.layers


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


@settings(max_examples=25, deadline=None)
@given(words=st.lists(ANY_TEXT, max_size=3), seed=SEEDS)
def test_evidence_round_trips_with_any_strings(tmp_path_factory, words, seed):
    rng, path, n = np.random.default_rng(seed), tmp_path_factory.mktemp("s") / "a.h5", len(words)
    write_collected(path, made_up(rng))
    gain = np.where(rng.random(n) < 0.5, np.nan, 1).astype(np.float32)
    table = records.SummaryTable(np.arange(n), words, ["llm"] * n, words, words, gain, words, words)
    add_evidence(path, [("summary", 0, "smallest", table, {"llm": words})], site="post")
    clean = [w.encode("utf-8", "replace").decode() for w in words]
    with Store(path) as store:
        same(
            store.evidence("summary", 0, "smallest"),
            dataclasses.replace(
                table, **dict.fromkeys(("description", "prompt", "answer", "candidates", "said"), clean)
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


def test_a_manifest_may_be_large(tmp_path):
    made = made_up(np.random.default_rng(0))
    made.manifest["corpus"]["files"] = [{"name": f"part-{i:06}.jsonl.zst", "sha256": "0" * 64} for i in range(2000)]
    write_collected(tmp_path / "a.h5", made)
    with Store(tmp_path / "a.h5") as store:
        assert store.manifest == made.manifest


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
    wide.rows().tokens[0, 0] = n - 1
    write_collected(tmp_path / "b.h5", wide)
    with Store(tmp_path / "b.h5") as store:
        assert store.row(0)[0] == n - 1


def test_equal_content_gives_equal_files(tmp_path):
    for name in "ab":
        write_collected(tmp_path / name, made_up(np.random.default_rng(0)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("at", [0, 1, 7, 20])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (
            OSError("Can't write (file write failed: errno = 28, error message = 'No space left on device')"),
            "the disk is full",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_a_write_that_fails_leaves_the_old_store(store_path, monkeypatch, at, error, message):
    before, calls, put = store_path.read_bytes(), iter(range(1000)), write._put

    def fail(*args):
        if next(calls) == at:
            raise error
        put(*args)

    monkeypatch.setattr(write, "_put", fail)
    for job in (
        lambda: write_collected(store_path, made_up(np.random.default_rng(5))),
        lambda: add_evidence(store_path, evidence(np.random.default_rng(5)), site="post"),
    ):
        calls = iter(range(1000))
        with pytest.raises(StoreError) as caught:
            job()
        said = str(caught.value)
        assert message in said
        assert str(store_path) in said
        assert "unchanged. Free disk space or give another path" in said
        assert "\n" not in said
        assert store_path.read_bytes() == before
        assert [p.name for p in store_path.parent.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupt_or_a_bug_leaves_the_old_store_too(store_path, monkeypatch, kind):
    before = store_path.read_bytes()

    def fail(*args):
        raise kind

    monkeypatch.setattr(write, "_put_blobs", fail)
    with pytest.raises(kind):
        write_collected(store_path, made_up(np.random.default_rng(5)))
    assert store_path.read_bytes() == before
    assert [p.name for p in store_path.parent.iterdir()] == ["a.h5"]


def test_writing_to_what_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "a.h5", tmp_path / "folder"):
        with pytest.raises(StoreError, match=r"writing .*Free disk space or give another path"):
            write_collected(path, made_up(np.random.default_rng(0)))
    with pytest.raises(StoreError, match="No such file"):
        add_evidence(tmp_path / "none.h5", [], site="post")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("limit", [100, 5_000, 20_000])
def test_a_file_system_that_refuses_leaves_the_old_store(store_path, limit):
    """A real failure in the middle of HDF5's own writing, as on a full disk."""
    resource = pytest.importorskip("resource")
    before, old = store_path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        with pytest.raises(StoreError, match=r"writing .*File too large.*unchanged") as caught:
            write_collected(store_path, made_up(np.random.default_rng(5)))
        with pytest.raises(StoreError, match=r"writing .*File too large.*unchanged"):
            add_evidence(store_path, evidence(np.random.default_rng(5)), site="post")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "\n" not in str(caught.value)
    assert store_path.read_bytes() == before
    assert [p.name for p in store_path.parent.iterdir()] == ["a.h5"]
    write_collected(store_path, made_up(np.random.default_rng(5)))
    Store(store_path).close()


@settings(max_examples=30, deadline=None)
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


def test_an_index_beyond_the_strings_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    write_collected(path, made_up(np.random.default_rng(1)))
    add_evidence(path, evidence(np.random.default_rng(3)), site="post")
    with h5py.File(path, "r+") as file:
        file["perturbation/post/2/largest/substitutes/kind/index"][1] = 2
    with Store(path) as store, pytest.raises(StoreError, match=r"kind/index names a string that .*kind does not have"):
        store.evidence("perturbation", 2)


@pytest.mark.parametrize("revision", [1, 2])
def test_a_summary_of_the_first_revision_lacks_two_columns(tmp_path, revision):
    path = tmp_path / "a.h5"
    write_collected(path, made_up(np.random.default_rng(0)))
    two = ["one", "two"]
    table = records.SummaryTable(np.arange(2), two, two, two, two, np.ones(2, np.float32), two, two)
    add_evidence(path, [("summary", 0, "largest", table, {"revision": revision})], site="post")
    with h5py.File(path, "r+") as file:
        for name in ("candidates", "said"):
            del file[f"summary/post/0/largest/{name}"]
    with Store(path) as store:
        if revision == 1:
            same(store.evidence("summary", 0), dataclasses.replace(table, candidates=["", ""], said=["", ""]))
        else:
            with pytest.raises(StoreError, match="candidates"):
                store.evidence("summary", 0)
