"""Stopped or killed at any moment, a resumed collection ends with the store of an uninterrupted one."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import h5py
import pytest
from small_collection import CONFIG, after, content, lines, run

from neurolocal.config import CollectConfig
from neurolocal.errors import StoreError
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.store import Store


@pytest.mark.parametrize("n", [1, 2, 5, 11])
def test_stopped_and_resumed(subject, corpus, whole, tmp_path, n):
    path, said = tmp_path / "s.h5", []
    first = run(subject, corpus, path, stop=after(n))
    assert first is not None
    assert not first.complete
    assert first.rows == 4 * n
    with Store(path) as store:
        assert store.manifest["complete"] is False
        assert store.example_lists(2)
    run(subject, corpus, path, said=said)
    assert f"collect: resuming at row {4 * n:,} of {path}" in said
    assert content(path) == whole[1]


def test_stopped_after_every_batch_with_a_checkpoint_each(subject, corpus, whole, tmp_path):
    path, runs = tmp_path / "s.h5", 0
    while runs == 0 or not content(path)["manifest"]["complete"]:
        run(subject, corpus, path, stop=after(1 + runs % 3), every=0.0)
        runs += 1
    assert runs > 4
    assert content(path) == whole[1]


def test_a_store_that_cannot_be_resumed(subject, corpus, tmp_path):
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


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("row", 999, "an example refers to row 999, which is not in rows/index"),
        ("position", 500, "an example is at position 500 of row"),
        ("position", -3, "stands before its row"),
    ],
)
def test_a_checkpoint_whose_examples_are_nowhere(subject, corpus, tmp_path, column, value, says):
    path = tmp_path / "s.h5"
    run(subject, corpus, path, stop=after(2))
    with h5py.File(path, "r+") as file:
        file[f"collect/post/2/smallest/{column}"][1, 0] = value
    with pytest.raises(StoreError, match=says):
        run(subject, corpus, path)


def collect_here(folder, corpus, store, every):
    """What a killed process was doing."""
    import torch

    from neurolocal.subject import load_subject

    torch.set_num_threads(1)
    config = CollectConfig(**(CONFIG | {"layers": None, "sign_cases": True, "logits": 5}))
    job = Collection(load_subject(folder, device="cpu"), corpus, store, config)
    collect_store(job, say=lambda line: None, every=every, bar=False)


@pytest.mark.slow
def test_killed_at_random_and_resumed(fixtures, tmp_path, rng):
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
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".lock") == ["c.jsonl", "killed.h5", "whole.h5"]


@pytest.mark.slow
def test_the_command_killed_and_resumed(fixtures, tmp_path, rng):
    """The same of the command line, once."""
    corpus, path = tmp_path / "c.jsonl", tmp_path / "killed.h5"
    corpus.write_text("\n".join(lines(120)))
    base = [
        sys.executable, "-c", "from neurolocal.cli.main import main; main()", "collect",
        "--subject", str(fixtures / "stories260k"), "--corpus", str(corpus), "--row-length", "32", "--k", "5",
        "--checkpoint-rows", "8",
    ]  # fmt: skip
    env = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

    def start(store):
        return subprocess.Popen([*base, "--store", str(store)], env=env, stderr=subprocess.DEVNULL)

    running, until = start(path), time.monotonic() + 900
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
