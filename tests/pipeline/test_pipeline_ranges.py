"""Ranges of batches merge, in any grouping, into the store of a single run; each is proved to join the next."""

import h5py
import pytest
from small_collection import CONFIG, after, content, run

from neurolocal.config import CollectConfig
from neurolocal.corpus import corpus_files
from neurolocal.errors import StoreError
from neurolocal.pipeline.batch_range import BatchRange
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.pipeline.manifest import row_stream
from neurolocal.pipeline.merge import merge_stores
from neurolocal.store import Store, check


def ranges(subject, corpus, every, **config):
    """The corpus's batches, `every` in each range."""
    from neurolocal.corpus import Cursor

    job = Collection(subject, corpus, corpus, CollectConfig(**(CONFIG | config)))
    cursors = [Cursor(), *(batch.after for batch in row_stream(job, corpus_files(corpus)).batches())]
    begins = cursors[:-1:every]
    ends = [begin.batches for begin in begins[1:]]
    return [BatchRange(begin, end) for begin, end in zip(begins, [*ends, None], strict=True)]


def collect_range(subject, corpus, path, part, *, stop=lambda: False, **config):
    job = Collection(subject, corpus, path, CollectConfig(**(CONFIG | config)))
    return collect_store(job, say=print, stop=stop, bar=False, part=part)


def collect_ranges(subject, corpus, folder, every, **config):
    parts = ranges(subject, corpus, every, **config)
    paths = [folder / f"{i}.h5" for i in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        outcome = collect_range(subject, corpus, path, part, **config)
        assert outcome is not None
        assert outcome.complete
    return paths


def merged(out, parts, **more):
    merge_stores(out, parts, say=lambda line: None, bar=False, **more)
    return out


def test_ranges_in_any_grouping_are_the_single_run(subject, corpus, whole, tmp_path, rng):
    parts = collect_ranges(subject, corpus, tmp_path, 2)
    assert len(parts) > 5
    flat = merged(tmp_path / "flat.h5", [parts[i] for i in rng.permutation(len(parts))])
    assert content(flat) == whole[1]
    left = merged(tmp_path / "left.h5", parts[:3])
    right = merged(tmp_path / "right.h5", [*parts[4:]])
    assert Store(left).manifest["range"]["end"] == Store(parts[3]).manifest["range"]["begin"]
    assert content(merged(tmp_path / "tree.h5", [right, parts[3], left])) == whole[1]
    with h5py.File(flat) as a, h5py.File(whole[0]) as b:
        assert a.attrs["manifest"] == b.attrs["manifest"]


def test_a_folder_of_files_and_a_limit_of_rows(subject, tmp_path, corpus):
    """Each range hashes the files of its own text; together they are those of the single run."""
    folder = tmp_path / "files"
    folder.mkdir()
    lines = corpus.read_text().splitlines()
    for i in range(4):
        (folder / f"{i}.jsonl").write_text("\n".join(lines[10 * i : 10 * i + 10]))
    (folder / "5.jsonl").write_text("")
    for name, limit in (("all", None), ("some", 37)):
        run(subject, folder, tmp_path / f"{name}.h5", max_rows=limit)
        (tmp_path / name).mkdir()
        parts = collect_ranges(subject, folder, tmp_path / name, 3, max_rows=limit)
        assert len(Store(parts[1]).manifest["corpus"]["files"]) < 4
        assert content(merged(tmp_path / f"{name}-m.h5", parts)) == content(tmp_path / f"{name}.h5")


def test_a_range_that_was_stopped_resumes(subject, corpus, tmp_path):
    part = ranges(subject, corpus, 4)[1]
    collect_range(subject, corpus, tmp_path / "one.h5", part)
    first = collect_range(subject, corpus, tmp_path / "two.h5", part, stop=after(2))
    assert first is not None
    assert (first.complete, first.rows) == (False, 8)
    second = collect_range(subject, corpus, tmp_path / "two.h5", part)
    assert second is not None
    assert (second.complete, second.rows) == (True, 16)
    assert content(tmp_path / "two.h5") == content(tmp_path / "one.h5")
    assert collect_range(subject, corpus, tmp_path / "two.h5", part) is None
    report = check(tmp_path / "one.h5", progress=False)
    assert (report.faults, report.notes) == ((), ("a part of a collection, to be merged with the others",))


def test_a_range_does_not_take_the_store_of_another(subject, corpus, tmp_path):
    parts = ranges(subject, corpus, 4)
    collect_range(subject, corpus, tmp_path / "s.h5", parts[1])
    with pytest.raises(StoreError, match=r"made from something else \(range\.batches: 4 -> 8"):
        collect_range(subject, corpus, tmp_path / "s.h5", parts[2])
    with pytest.raises(StoreError, match="made from something else"):
        run(subject, corpus, tmp_path / "s.h5")


def test_ranges_that_do_not_join_are_refused(subject, corpus, tmp_path):
    parts = collect_ranges(subject, corpus, tmp_path, 4)
    out = tmp_path / "m.h5"
    with pytest.raises(StoreError, match=r"rows 16 to 31 are in neither\. Give all parts\."):
        merged(out, [parts[0], parts[2]])
    with pytest.raises(StoreError, match=r"both hold batch 0\. Give each once\."):
        merged(out, [parts[0], merged(tmp_path / "first.h5", parts[:2])])
    other = tmp_path / "other"
    other.mkdir()
    text = corpus.read_text()
    changed = tmp_path / "c.jsonl"
    changed.write_text(text.replace("Lily", "Lila"))
    theirs = collect_ranges(subject, changed, other, 4)
    with pytest.raises(StoreError, match="the text before row 16 differs, so the corpus was changed between them"):
        merged(out, [parts[0], theirs[1]])
    run(subject, corpus, tmp_path / "shard.h5", shard=1, shards=2)
    with pytest.raises(StoreError, match="they are of different runs"):
        merged(out, [parts[0], tmp_path / "shard.h5"])
    assert not out.exists()


def test_what_is_lacking_is_stated(subject, corpus, tmp_path, whole):
    parts = collect_ranges(subject, corpus, tmp_path, 4)
    lacks = [{"rows": [16, 32], "why": "it failed 3 times"}]
    out = merged(tmp_path / "m.h5", [parts[0], *parts[2:]], lacks=lacks)
    manifest = Store(out).manifest
    assert (manifest["complete"], manifest["lacks"], manifest["rows"]) == (False, lacks, whole[2].rows - 16)
    report = check(out, progress=False)
    assert (report.faults, report.notes) == ((), ("it lacks rows [16, 32]: it failed 3 times",))
    with pytest.raises(StoreError, match=r"it lacks parts of the corpus .* \(--engine ray\) tries them again"):
        run(subject, corpus, out)
