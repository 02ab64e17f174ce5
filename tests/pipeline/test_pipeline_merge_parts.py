"""Merging made-up parts: what the merged store states and holds, and what is refused; see `merge_twins`."""

from __future__ import annotations

import hashlib
import itertools
import json

import h5py
import numpy as np
import pytest
from merge_twins import COUNT, D_VOCAB, write_parts

from neurolocal.collect.merge import merge
from neurolocal.collect.sample import merge_samples
from neurolocal.errors import StoreError
from neurolocal.files import locked
from neurolocal.pipeline import merge as module
from neurolocal.pipeline.merge import merge_stores
from neurolocal.store import Store


@pytest.fixture
def parts(tmp_path, rng):
    """Writes so many parts of eight rows."""

    def made(count, *, ranges=False, **more):
        folder = tmp_path / f"{count}{ranges}{len(more)}"
        folder.mkdir()
        more = {"neurons": 3} | more
        return write_parts(folder, rng, count=count, rows=8, row_length=5, ranges=ranges, **more)[0]

    return made


def merged(out, paths, said=None, **more):
    merge_stores(out, paths, say=lambda line: None if said is None else said.append(line), bar=False, **more)
    return out


def refused(out, paths, **more):
    """The message of the error; nothing is written."""
    with pytest.raises(StoreError) as caught:
        merged(out, paths, **more)
    assert not out.exists()
    return str(caught.value)


def edited(path, *names, **entries):
    """Change entries of a manifest (or of the object within it that the names lead to); None removes one."""
    with h5py.File(path, "r+") as file:
        manifest = json.loads(str(file.attrs["manifest"]))
        place = manifest
        for name in names:
            place = place[name]
        for name, value in entries.items():
            if value is None:
                del place[name]
            else:
                place[name] = value
        text = json.dumps(manifest)
        file.attrs["manifest"], file.attrs["manifest_sha256"] = text, hashlib.sha256(text.encode()).hexdigest()
    return path


@pytest.mark.parametrize("ranges", [False, True])
def test_what_the_merged_store_holds(parts, tmp_path, ranges, rng) -> None:
    """Each layer is the records of the parts, one after the other; rows, tokens and their counts are sums."""
    paths = parts(4, ranges=ranges, sample=5, layers=(0, 3), unreadable=2)
    said: list[str] = []
    given = [paths[i] for i in rng.permutation(4)]
    out = tmp_path / "m.h5"
    assert merge_stores(out, given, say=said.append, bar=False) == {("post", 0): 8, ("post", 3): 8}
    assert said == [f"merge: 4 shards, 32 rows, {4 * COUNT} tokens counted; {out}"]
    stores = [Store(path) for path in (paths if ranges else given)]
    sample, order = stores[0].sample, []
    for store in stores[1:]:
        sample, best = merge_samples(sample, store.sample, size=5, seed=0)
        order.append(best)
    with Store(out) as found:
        for layer in (0, 3):
            record = stores[0].record(layer)
            for store, best in zip(stores[1:], order, strict=True):
                record = merge(record, store.record(layer), sample=best, seed=0)
            there = found.record(layer)
            np.testing.assert_array_equal(there.sample, record.sample)
            np.testing.assert_array_equal(there.statistics.nonfinite, [8, 0, 0])
            for side, top in record.lists.items():
                np.testing.assert_array_equal(there.lists[side].row, top.row)
                np.testing.assert_array_equal(there.lists[side].activation, top.activation)
        np.testing.assert_array_equal(found.sample.row, sample.row)
        np.testing.assert_array_equal(found.token_count, np.full(D_VOCAB, 1 + 2 + 3 + 4))
        assert (found.manifest["rows"], found.manifest["tokens"], found.manifest["complete"]) == (32, 4 * COUNT, True)
        assert found.manifest["config"] == stores[0].manifest["config"] | {"shard": 0, "shards": 1}
        assert "range" not in found.manifest
        assert set(sample.row) <= set(found.row_index.tolist()), "the rows of the sample are kept"


def test_one_part_is_a_whole_collection(parts, tmp_path) -> None:
    (path,) = parts(1, sample=2)
    with Store(path) as part, Store(merged(tmp_path / "m.h5", [path])) as store:
        assert store.manifest == part.manifest
        np.testing.assert_array_equal(store.record(0).sample, part.record(0).sample)


def test_the_rows_of_the_sample_are_kept(parts, tmp_path) -> None:
    """Few of them are in a list of the one neuron."""
    out = merged(tmp_path / "m.h5", parts(3, sample=8, neurons=1))
    with Store(out) as store:
        listed = np.concatenate([store.top(0, side).row.ravel() for side in store.sides(0)])
        assert set(store.row_index.tolist()) == {*listed.tolist(), *store.sample.row.tolist()}
        assert len(store.sample.row) == 8


def test_a_store_is_as_complete_as_its_parts(parts, tmp_path) -> None:
    paths = parts(2)
    edited(paths[1], complete=False, rows=1234)
    said = refused(tmp_path / "m.h5", paths)
    assert said == f"merging {paths[1]}: it stopped at row 1,234. Finish it by running its command again."


def test_parts_of_different_runs_say_the_first_four_differences(parts, tmp_path) -> None:
    paths = parts(3)
    for name in ("before", "after", "sample"):
        edited(paths[2], "config", **{name: 9})
    edited(paths[2], "subject", sha256="b")
    edited(paths[2], "tokenizer", sha256="c")
    said = refused(tmp_path / "m.h5", paths)
    assert said.startswith(f"merging {paths[0]} and {paths[2]}: they are of different runs (")
    assert said.count(" -> ") == 4
    assert said.endswith("). Give the shards of one collection.")


@pytest.mark.parametrize(("ranges", "same"), [(False, False), (True, True)])
def test_the_text_of_shards_is_one_and_of_ranges_need_not_be(parts, tmp_path, ranges, same) -> None:
    """Shards of every n-th batch read all of the corpus, and ranges their own files."""
    paths = parts(2, ranges=ranges)
    edited(paths[1], "corpus", rows_sha256="other")
    if same:
        merged(tmp_path / "m.h5", paths)
    else:
        assert "they are of different runs (text" in refused(tmp_path / "m.h5", paths)


def test_a_manifest_that_does_not_say_what_it_was_made_from(parts, tmp_path) -> None:
    paths = parts(2)
    edited(paths[1], "tokenizer", sha256=None)
    said = refused(tmp_path / "m.h5", paths)
    assert said == f"merging {paths[1]}: its manifest does not state what it was made from ('sha256')."


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ((0, 10), "9 of 11 shards are missing: number 1, 2, 3, 4, 5, 6, 7, 8, ..., counted from 0"),
        ((3, 10, 7), "8 of 11 shards are missing: number 0, 1, 2, 4, 5, 6, 8, 9, counted from 0"),
    ],
)
def test_missing_shards_are_counted_and_named(parts, tmp_path, given, numbers) -> None:
    paths = parts(11)
    out = tmp_path / "m.h5"
    assert refused(out, [paths[i] for i in given]) == f"merging into {out}: {numbers}. Give all of them."
    doubled = refused(out, [paths[i] for i in (*given, given[1])])
    assert doubled == f"merging {paths[10]} and {paths[10]}: both are shard 10. Give each shard once."


def test_ranges_that_leave_a_gap_overlap_or_read_another_text(parts, tmp_path) -> None:
    paths, out = parts(4, ranges=True), tmp_path / "m.h5"
    for path, number in zip(paths, itertools.count()):
        edited(
            path, "range", begin={"file": 0, "batches": 2 * number, "rows": 2000 * number, "digest": f"{number:064x}"}
        )
        edited(path, "range", end={"file": 0, "batches": 2 * number + 2, "rows": 2000 * number + 2000,
                                   "digest": f"{number + 1:064x}"})  # fmt: skip
    assert refused(out, [paths[3], paths[0]]) == (
        f"merging {paths[0]} and {paths[3]}: rows 2,000 to 5,999 are in neither. Give all parts."
    )
    assert refused(out, [paths[0], paths[3]], lacks=[{"rows": [4000, 6000], "why": "it"}]).endswith("Give all parts.")
    assert refused(out, [paths[0], paths[1], paths[1]]) == (
        f"merging {paths[1]} and {paths[1]}: both hold batch 2. Give each once."
    )
    edited(paths[2], "range", begin={"file": 0, "batches": 4, "rows": 4000, "digest": "f" * 64})
    assert refused(out, paths) == (
        f"merging {paths[1]} and {paths[2]}: the text before row 4,000 differs, so the corpus was changed between "
        "them. Collect again."
    )


def file(name, sha256):
    return {"name": name, "sha256": sha256 * 64}


def test_ranges_together_state_the_files_of_all_and_the_end_of_the_last(parts, tmp_path) -> None:
    paths, out = parts(3, ranges=True), tmp_path / "m.h5"
    for number, files in enumerate((["a", "b"], ["b"], ["b", "c"])):
        edited(paths[number], "corpus", files=[file(name, name) for name in files], rows_sha256=f"{number}")
        edited(paths[number], cursor={"batches": number + 1})
    with Store(merged(out, paths[::-1])) as store:
        corpus = store.manifest["corpus"]
        assert corpus == {"files": [file(n, n) for n in "abc"], "n_files": 0, "rows_sha256": "2"}
        assert store.manifest["cursor"] == {"batches": 3}
    out.unlink()
    edited(paths[2], "corpus", files=[file("b", "d"), file("c", "c")])
    assert refused(out, paths) == (f"merging {paths[2]}: b was changed between the parts that read it. Collect again.")


def test_ranges_together_state_what_the_first_alone_does(parts, tmp_path) -> None:
    """Trying the tokenizer is for the worker of the first range; the others do not state what it found."""
    paths = parts(3, ranges=True)
    edited(paths[0], "tokenizer", tried={"texts": 9})
    for given in (paths, paths[:2]):
        with Store(merged(tmp_path / f"m{len(given)}.h5", given)) as store:
            assert store.manifest["tokenizer"]["tried"] == {"texts": 9}


def test_ranges_that_do_not_reach_from_end_to_end_are_a_range(parts, tmp_path) -> None:
    paths = parts(4, ranges=True)
    begins = [Store(path).manifest["range"]["begin"] for path in paths]
    for first, last, number in ((0, 3, 0), (1, 3, 1), (1, 4, 2)):
        with Store(merged(tmp_path / f"{number}.h5", paths[first:last])) as store:
            stated = store.manifest["range"]
            assert stated["begin"] == begins[first]
            assert stated["end"] == Store(paths[last - 1]).manifest["range"]["end"]
            assert stated["last"] == (last == 4)
            assert store.manifest["complete"]


def test_what_is_lacking_is_stated_and_nothing_more(parts, tmp_path) -> None:
    paths = parts(3, ranges=True)
    lacks = [{"rows": [1, 2], "why": "it failed"}]
    with Store(merged(tmp_path / "m.h5", [paths[0], paths[2]], lacks=lacks)) as store:
        assert (store.manifest["complete"], store.manifest["lacks"]) == (False, lacks)
        assert "range" not in store.manifest


def test_merging_holds_the_right_to_write(parts, tmp_path, monkeypatch) -> None:
    out, paths, there = tmp_path / "m.h5", parts(2), []
    monkeypatch.setattr(module, "locked", lambda path, **how: there.append((path, how)) or locked(path, **how))
    merged(out, paths)
    assert there == [(out, {"doing": "merging into", "error": StoreError})]


def test_the_bar_can_be_left_out_and_counts_layers(parts, tmp_path, monkeypatch) -> None:
    made: list[dict[str, object]] = []

    class Bar(module.Bar):
        def __init__(self, *args, **named):
            made.append(named)
            super().__init__(*args, **named)

    monkeypatch.setattr(module, "Bar", Bar)
    merge_stores(tmp_path / "a.h5", parts(2), say=lambda line: None)
    merged(tmp_path / "b.h5", parts(3))
    assert [(one["desc"], one["disable"]) for one in made] == [("merge: post", False), ("merge: post", True)]
