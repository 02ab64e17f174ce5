"""A whole collection on stories260k: stopped, killed, sharded, or fed a broken file, it ends in the same bits."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zstandard

from neurolocal.config import CollectConfig
from neurolocal.errors import CorpusError, StoreError
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.pipeline.merge import merge_stores
from neurolocal.store import Store

CONFIG = {
    "logits": 0,
    "sample": 40,
    "row_length": 32,
    "k": 5,
    "before": 6,
    "after": 3,
    "batch_size": 4,
    "layers": (0, 2, 4),
}


def lines(n):
    rng = np.random.default_rng(7)
    words = ["cat", "dog", "Lily", "ran", "happy", "the", "ball", "red", "said", "and", "big", "tree", "sun"]
    texts = [" ".join(rng.choice(words, 60)) + "." for _ in range(n)]
    return [json.dumps({"text": t}) if i % 5 != 3 else "broken" for i, t in enumerate(texts)]


@pytest.fixture(scope="module")
def subject(fixtures):
    from neurolocal.subject import load_subject

    return load_subject(str(fixtures / "stories260k"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "c.jsonl"
    path.write_text("\n".join(lines(40)))
    return path


def run(subject, corpus, store, *, said=None, stop=lambda: False, every=None, replace=False, **config):
    job = Collection(subject, Path(corpus), store, CollectConfig(**(CONFIG | config)))
    say = (lambda line: None) if said is None else said.append
    return collect_store(job, say=say, stop=stop, every=every, bar=False, replace=replace)


def content(path, *, manifest=True):
    """Every dataset's type and bytes, and the manifest without paths."""
    found: dict = {}

    def see(name, place):
        if isinstance(place, h5py.Dataset):
            found[name] = (place.dtype.str, place.shape, np.asarray(place[()]).tobytes())

    with h5py.File(path) as file:
        file.visititems(see)
    if manifest:
        with Store(path) as store:
            found["manifest"] = store.manifest
    return found


@pytest.fixture(scope="module")
def whole(subject, corpus, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "s.h5"
    outcome = run(subject, corpus, path)
    assert outcome is not None
    assert outcome.complete
    assert outcome.rows > 40
    assert outcome.checkpoints == 1
    return path, content(path), outcome


def after(n):
    """A stop callback that says yes the n-th time."""
    left = iter([False] * (n - 1) + [True] * 99)
    return lambda: next(left)


def test_what_a_collection_says_of_itself(whole, corpus):
    _, found, outcome = whole
    manifest = found["manifest"]
    assert (manifest["rows"], manifest["tokens"], manifest["complete"]) == (outcome.rows, outcome.n_tokens, True)
    assert manifest["corpus"]["skipped"] == {"not JSON": 8}
    assert manifest["corpus"]["documents"] == 32
    assert manifest["corpus"]["rows_sha256"] == manifest["cursor"]["digest"]
    assert [f["name"] for f in manifest["corpus"]["files"]] == [corpus.name]
    assert outcome.n_tokens == 31 * outcome.rows


@pytest.mark.parametrize("n", [1, 2, 5, 11])
def test_stopped_and_gone_on_with(subject, corpus, whole, tmp_path, n):
    path, said = tmp_path / "s.h5", []
    first = run(subject, corpus, path, stop=after(n))
    assert first is not None
    assert not first.complete
    assert first.rows == 4 * n
    with Store(path) as store:
        assert store.manifest["complete"] is False
        assert store.example_lists(2)
    run(subject, corpus, path, said=said)
    assert f"collect: going on at row {4 * n:,} of {path}" in said
    assert content(path) == whole[1]


def test_stopped_after_every_batch_with_a_checkpoint_each(subject, corpus, whole, tmp_path):
    path, runs = tmp_path / "s.h5", 0
    while runs == 0 or not content(path)["manifest"]["complete"]:
        run(subject, corpus, path, stop=after(1 + runs % 3), every=0.0)
        runs += 1
    assert runs > 4
    assert content(path) == whole[1]


def test_a_complete_store_is_left_alone(subject, corpus, whole, tmp_path):
    path, said = tmp_path / "s.h5", []
    path.write_bytes(whole[0].read_bytes())
    assert run(subject, corpus, path, said=said) is None
    assert said == [f"collect: {path} is complete and its inputs are unchanged; nothing to do"]


@pytest.mark.parametrize("shards", [2, 30])
def test_shards_merged_are_the_single_run(subject, corpus, whole, tmp_path, shards, rng):
    """With more shards than batches some hold nothing."""
    parts = [tmp_path / f"{i}.h5" for i in range(shards)]
    for i, path in enumerate(parts):
        run(subject, corpus, path, shard=i, shards=shards)
    said: list[str] = []
    merge_stores(tmp_path / "m.h5", [parts[i] for i in rng.permutation(shards)], say=said.append)
    assert content(tmp_path / "m.h5") == whole[1]
    assert said[0].startswith(f"merge: {shards} shards, {whole[2].rows:,} rows")


def test_what_does_not_belong_together_is_not_merged(subject, corpus, tmp_path):
    parts = [tmp_path / f"{i}.h5" for i in range(3)]
    for i, path in enumerate(parts):
        run(subject, corpus, path, shard=i, shards=3)
    other, stopped, out = tmp_path / "k.h5", tmp_path / "stopped.h5", tmp_path / "m.h5"
    run(subject, corpus, other, shard=1, shards=3, k=4)
    run(subject, corpus, stopped, shard=1, shards=3, stop=after(2))
    cases = (
        ((0, 2), "of 3 shards 1 are missing. Give all of them."),
        ((0, 1, 2, 1), "both are shard 1. Give each shard once."),
        ((0, other, 2), "they are of different runs (config.k: 5 -> 4). Give the shards of one collection."),
        ((0, stopped, 2), "it stopped at row 8. Finish it by running its command again."),
    )
    for chosen, said in cases:
        with pytest.raises(StoreError) as caught:
            merge_stores(out, [parts[c] if isinstance(c, int) else c for c in chosen], say=lambda line: None)
        assert said in str(caught.value)
        assert not out.exists()
    out.write_text("mine")
    with pytest.raises(StoreError, match="the file exists"):
        merge_stores(out, parts, say=lambda line: None)
    assert out.read_text() == "mine"


def test_other_inputs_are_refused_or_collected_anew(subject, corpus, whole, tmp_path):
    path, other = tmp_path / "s.h5", tmp_path / corpus.name
    path.write_bytes(whole[0].read_bytes())
    other.write_text("\n".join(lines(41)))
    cases: Any = (
        ({"k": 6}, corpus, "config.k: 5 -> 6"),
        ({"layers": None}, corpus, "config.layers: [0,2,4] -> null"),
        ({}, other, f"corpus.{corpus.name}: "),
    )
    for settings, text, differs in cases:
        with pytest.raises(StoreError) as caught:
            run(subject, text, path, **settings)
        assert f"collecting into {path}: it was made from something else ({differs}" in str(caught.value)
        assert "Give another --store, or delete this one." in str(caught.value)
        assert path.read_bytes() == whole[0].read_bytes()
    said = []
    run(subject, other, path, said=said, replace=True)
    assert said[0].startswith("collect: again, since corpus.c.jsonl: ")
    with Store(path) as store:
        assert store.manifest["corpus"]["documents"] == 33


def test_a_store_that_cannot_be_gone_on_with(subject, corpus, tmp_path):
    path = tmp_path / "s.h5"
    run(subject, corpus, path, stop=after(2))
    kept = path.read_bytes()
    for key, value in (
        ("cursor", None),
        ("cursor", {"rows": -1}),
        ("cursor", {"digest": "no"}),
        ("cursor", {"new": 1}),
        ("subject", {}),
    ):
        path.write_bytes(kept)
        with h5py.File(path, "r+") as file:
            manifest = json.loads(str(file.attrs["manifest"]))
            old = manifest[key]
            manifest[key] = old | value if value and isinstance(old, dict) else value
            file.attrs["manifest"] = json.dumps(manifest)
            del file.attrs["manifest_sha256"]
        with pytest.raises(StoreError, match=r"Delete (it|the file) to collect again"):
            run(subject, corpus, path)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_corpus_that_breaks_off_is_gone_on_with_when_it_is_whole(subject, whole, corpus, tmp_path, share):
    packed, path, said = tmp_path / "c.jsonl.zst", tmp_path / "s.h5", []
    parts = corpus.read_bytes().splitlines(keepends=True)
    frames = b"".join(zstandard.ZstdCompressor().compress(p) for p in parts)
    packed.write_bytes(frames[: int(share * len(frames))])
    with pytest.raises(CorpusError, match="what was collected is kept, and the same command resumes"):
        run(subject, packed, path)
    with Store(path) as store:
        kept = store.manifest["rows"]
        assert 0 < kept < whole[2].rows
        assert not store.manifest["complete"]
    packed.write_bytes(frames)
    run(subject, packed, path, said=said)
    assert said[0] == f"collect: {packed} has changed; comparing the text that was read so far"
    assert said[1] == f"collect: going on at row {kept:,} of {path}"
    found = content(path)
    assert {k: v for k, v in found.items() if k != "manifest"} == {k: v for k, v in whole[1].items() if k != "manifest"}
    assert found["manifest"]["cursor"] == whole[1]["manifest"]["cursor"]


def test_another_text_in_the_same_file_is_refused(subject, corpus, tmp_path):
    changed, path = tmp_path / "c.jsonl", tmp_path / "s.h5"
    changed.write_bytes(corpus.read_bytes())
    run(subject, changed, path, stop=after(3))
    kept = path.read_bytes()
    changed.write_bytes(corpus.read_bytes().replace(b"cat", b"hat", 1))
    with pytest.raises(StoreError, match=r"made from something else \(corpus.c.jsonl"):
        run(subject, changed, path)
    assert path.read_bytes() == kept


def test_an_empty_corpus_leaves_nothing(subject, tmp_path):
    (tmp_path / "c.jsonl").write_text("")
    with pytest.raises(CorpusError, match="no rows in"):
        run(subject, tmp_path / "c.jsonl", tmp_path / "out" / "s.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["c.jsonl"]


def test_the_bar_has_an_estimate(subject, corpus, tmp_path, monkeypatch):
    from neurolocal.collect import loop

    totals = []

    class Bar(loop.tqdm):
        def set_postfix_str(self, *args, **kwargs):
            totals.append(self.total)

    monkeypatch.setattr(loop, "tqdm", Bar)
    job = Collection(subject, corpus, tmp_path / "s.h5", CollectConfig(**CONFIG))
    outcome = collect_store(job, say=lambda line: None)
    assert outcome is not None
    assert totals[-1] == pytest.approx(outcome.rows, rel=0.05)
    assert totals[len(totals) // 2] == pytest.approx(outcome.rows, rel=0.25)


def collect_here(folder, corpus, store, every):
    """What a killed process was doing."""
    import torch

    from neurolocal.subject import load_subject

    torch.set_num_threads(1)
    config = CollectConfig(**(CONFIG | {"layers": None, "sign_cases": True, "logits": 5}))
    job = Collection(load_subject(folder, device="cpu"), corpus, store, config)
    collect_store(job, say=lambda line: None, every=every, bar=False)


@pytest.mark.slow
def test_killed_at_random_and_gone_on_with(fixtures, tmp_path, rng):
    """20 kills and 4 politer stops at any moment of a real run with a checkpoint a batch: it ends as if left alone."""
    corpus, path = tmp_path / "c.jsonl", tmp_path / "killed.h5"
    corpus.write_text("\n".join(lines(400)))
    context = multiprocessing.get_context("forkserver")  # a fresh process in which torch is imported already
    context.set_forkserver_preload(
        ["torch", "transformers", "neurolocal.pipeline.collect", "neurolocal.collect.kernels"]
    )
    folder = str(fixtures / "stories260k")

    def begin(store, *, every=0.0):
        process = context.Process(target=collect_here, args=(folder, corpus, store, every))
        process.start()
        return process

    def written():
        return path.stat().st_ino if path.exists() else 0

    kills, rows = 0, 0
    for attempt in range(24):
        running, seen, left = begin(path), written(), int(rng.integers(0, 9))
        while left and running.is_alive():  # so many checkpoints later, and a moment that lies anywhere in the next
            left, seen = left - (written() != seen), written()
            time.sleep(0.002)
        running.join(float(rng.uniform(0, 0.06) if seen else rng.uniform(0, 1.5)))
        assert running.is_alive(), "the run was over too soon"
        polite = attempt % 6 == 5
        os.kill(running.pid, signal.SIGTERM if polite else signal.SIGKILL)
        kills += not polite
        running.join()
        if path.exists():
            with Store(path) as store:
                assert store.manifest["rows"] >= rows, "what was kept is lost"
                assert not store.manifest["complete"]
                rows = store.manifest["rows"]
    assert kills == 20
    assert rows > 0
    for store in (path, tmp_path / "whole.h5"):
        last = begin(store, every=1000.0)
        last.join()
        assert last.exitcode == 0
    found, wanted = content(path), content(tmp_path / "whole.h5")
    assert found.keys() == wanted.keys()
    assert [name for name in found if found[name] != wanted[name]] == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.jsonl", "killed.h5", "whole.h5"]


@pytest.mark.slow
def test_the_command_killed_and_gone_on_with(fixtures, tmp_path, rng):
    """The same of the command line, once."""
    corpus, path = tmp_path / "c.jsonl", tmp_path / "killed.h5"
    corpus.write_text("\n".join(lines(60)))
    base = [
        sys.executable, "-c", "from neurolocal.cli.main import main; main()", "collect",
        "--subject", str(fixtures / "stories260k"), "--corpus", str(corpus), "--row-length", "32", "--k", "5",
        "--checkpoint-rows", "8",
    ]  # fmt: skip
    env = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

    def start(store):
        return subprocess.Popen([*base, "--store", str(store)], env=env, stderr=subprocess.DEVNULL)

    running, until = start(path), time.monotonic() + 120
    while running.poll() is None and not path.exists() and time.monotonic() < until:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    with Store(path) as store:
        assert store.manifest["rows"] >= 8
        assert not store.manifest["complete"]
    assert start(path).wait() == 0
    assert start(tmp_path / "whole.h5").wait() == 0
    assert content(path) == content(tmp_path / "whole.h5")
