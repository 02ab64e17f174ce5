"""The driver, with workers that are threads: whatever fails, the store is that of a single process, bit for bit."""

import errno
import json
import os
import threading
import time
from collections import Counter

import pytest
from contents import content
from task_twins import DIE, ThreadPool
from worker_twins import SETTINGS, drive, pool_of

from neurolocal.config import CollectConfig
from neurolocal.corpus import RowStream
from neurolocal.errors import NeurolocalError, StoreError
from neurolocal.scale.folder import ShardFolder
from neurolocal.scale.pool import Failed
from neurolocal.scale.worker import CollectRequest
from neurolocal.store import Store, check


def test_the_store_is_that_of_a_single_process(subject, corpus, single, tmp_path):
    said = []
    outcome = drive(subject, corpus, tmp_path / "s.h5", said=said, workers=3)
    assert content(tmp_path / "s.h5") == single
    assert (outcome.complete, outcome.rows, outcome.n_tokens) == (
        True, Store(tmp_path / "s.h5").manifest["rows"], Store(tmp_path / "s.h5").manifest["tokens"])  # fmt: skip
    assert not (tmp_path / "s.h5.shards").exists()
    assert drive(subject, corpus, tmp_path / "s.h5", said=said) is None
    assert said[-1].endswith("s.h5 is complete and its inputs are unchanged; nothing to do")


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 1000])
def test_one_shard_or_one_for_each_document(subject, corpus, single, tmp_path, shards):
    """A thousand sections of this corpus are one document each; the shards are merged in a tree."""
    calls = []

    def watch(worker, method, arguments):
        calls.append(method)

    drive(subject, corpus, tmp_path / "s.h5", shards=shards, fault=watch)
    assert content(tmp_path / "s.h5") == single
    n = Counter(calls)
    if shards == 1:
        assert (n["collect"], n["merge"]) == (1, 1)
    else:
        assert n["read"] == 20, "documents; five of 25 records are none"
        assert n["link"] == 20
        assert 8 < n["collect"] <= 20
        assert n["merge"] >= n["collect"] // 8, "the last group may be left to the last merge"


def test_workers_that_die_are_replaced(subject, corpus, single, tmp_path):
    """Each shard's first worker dies, before or after it has written a checkpoint."""
    tried, said = Counter(), []

    def fault(worker, method, arguments):
        if method != "collect":
            return None
        shard = arguments[1].number
        tried[shard] += 1
        return DIE if tried[shard] == 1 else None

    # A worker that dies takes the text with it that it reads: all these deaths may meet one section.
    drive(subject, corpus, tmp_path / "s.h5", fault=fault, said=said, attempts=9)
    assert content(tmp_path / "s.h5") == single
    assert len(tried) < 9
    assert set(tried.values()) == {2}
    assert sum("is gone; another one takes its place" in line for line in said) == len(tried)


def test_the_first_shard_may_be_of_another_worker_than_the_one_that_looked_at_the_corpus(
    subject, corpus, single, tmp_path
):
    """The store states what trying the tokenizer found, whoever tried it; workers here share one subject."""

    def fault(worker, method, arguments):
        if method == "collect" and arguments[1].number == 0:
            subject._examined = {}

    drive(subject, corpus, tmp_path / "s.h5", fault=fault)
    assert content(tmp_path / "s.h5") == single


def test_text_is_tokenised_once(subject, corpus, single, tmp_path, monkeypatch):
    """Workers collect what they have kept: the corpus is encoded by `read` alone."""
    asked, texts = [], []

    def watch(worker, method, arguments):
        if method == "collect":
            texts.append(arguments[4])
            asked.append(all(file.path.exists() for file in arguments[4].files))

    monkeypatch.setattr("neurolocal.corpus.stream.RowStream.encoded", _once(RowStream.encoded, spots := Counter()))
    drive(subject, corpus, tmp_path / "s.h5", fault=watch)
    assert content(tmp_path / "s.h5") == single
    assert asked
    assert all(asked)
    n = spots.pop((0, None))
    assert n == 1, "prepare looks at the first rows"
    assert set(spots.values()) == {1}


def _once(encoded, spots):
    def counted(self, cursor, *, until=None):
        spots[cursor.record, until] += 1
        return encoded(self, cursor, until=until)

    return counted


def test_a_worker_that_dies_over_a_text_is_replaced(subject, corpus, single, tmp_path):
    """Each section's first reader dies, and so does the first that links; then a text is damaged."""
    tried, said = Counter(), []

    def fault(worker, method, arguments):
        if method not in ("read", "link"):
            return None
        what = method, arguments[1].number
        tried[what] += 1
        if method == "link" and tried[what] == 2:
            _damage(arguments[3].files[-1].path, "cut")
        return DIE if tried[what] == 1 else None

    # A worker that dies takes the shard with it that it collects: all eight deaths may meet one shard.
    drive(subject, corpus, tmp_path / "s.h5", fault=fault, said=said, attempts=9)
    assert len(tried) == 8
    assert content(tmp_path / "s.h5") == single
    assert {n for what, n in tried.items() if what[0] == "link"} == {2}
    assert sum("is gone; another one takes its place" in line for line in said) >= len(tried) // 2


def test_a_text_that_no_worker_can_read_ends_the_run(subject, corpus, tmp_path):
    def fault(worker, method, arguments):
        if method == "read" and arguments[1].number == 1:
            raise ZeroDivisionError("no ids")

    with pytest.raises(NeurolocalError, match="ZeroDivisionError: no ids"):
        drive(subject, corpus, tmp_path / "s.h5", fault=fault)


def test_a_shard_that_fails_three_times_is_lacking_and_tried_again_later(subject, corpus, single, tmp_path):
    said, store = [], tmp_path / "s.h5"

    def fault(worker, method, arguments):
        return Failed("a broken cable", False) if method == "collect" and arguments[1].number == 2 else None

    outcome = drive(subject, corpus, store, fault=fault, said=said)
    assert not outcome.complete
    manifest = Store(store).manifest
    (lack,) = manifest["lacks"]
    first, behind = lack["rows"]
    assert (manifest["complete"], lack["why"], outcome.rows) == (False, "a broken cable", manifest["rows"])
    assert f"collect: {store} lacks rows {first} to {behind - 1}: a broken cable" in said
    assert "collect: shard 2 failed (3 of 3) and is set aside: a broken cable" in said
    report = check(store, progress=False)
    assert (report.faults, report.notes) == ((), (f"it lacks rows [{first}, {behind}]: a broken cable",))
    collected = []

    def watch(worker, method, arguments):
        if method == "collect":
            collected.append(arguments[1].number)

    assert drive(subject, corpus, store, fault=watch).complete
    assert collected == [2]
    assert content(store) == single


@pytest.mark.slow
def test_a_run_that_was_stopped_resumes(subject, corpus, single, tmp_path):
    """The driver dies in the middle: an error that nobody expects stands for it."""
    done, said = [], []

    def fault(worker, method, arguments):
        if method == "collect":
            if len(done) == 3:
                raise KeyboardInterrupt
            done.append(arguments[1].number)

    class DeadError(Exception):
        pass

    class Pool(ThreadPool):
        def wait(self, seconds):
            if len(done) == 3:
                raise DeadError
            return super().wait(seconds)

    request = CollectRequest(subject.name, corpus, tmp_path / "s.h5", CollectConfig(**SETTINGS))
    with pytest.raises(DeadError):
        drive(subject, corpus, tmp_path / "s.h5", pool=Pool(pool_of(request, subject).make, fault), shards=10)
    again = []

    def watch(worker, method, arguments):
        if method == "collect":
            again.append(arguments[1].number)

    drive(subject, corpus, tmp_path / "s.h5", fault=watch, said=said)
    finished = int(next(line for line in said if "resuming" in line).split()[3])
    assert sorted(again) == sorted(set(again))
    assert len(again) == max(again) + 1 - finished
    assert finished > 0
    assert content(tmp_path / "s.h5") == single


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cut", "changed", "gone", "record"])
def test_a_damaged_shard_is_collected_again(subject, corpus, single, tmp_path, how):
    """It is found when a run resumes, and when it is merged."""
    store, said, hurt = tmp_path / "s.h5", [], []

    def fault(worker, method, arguments):
        if method == "merge" and not hurt:
            path = arguments[0][1][1]
            hurt.append(path)
            _damage(path, how)

    drive(subject, corpus, store, fault=fault, said=said)
    assert content(store) == single
    if how != "record":
        assert f"collect: {hurt[0]} is damaged; its shards are collected again" in said


def _damage(path, how):
    if how == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "changed":
        data = bytearray(path.read_bytes())
        data[len(data) // 2 - 5000 : len(data) // 2 + 5000] = os.urandom(10000)
        path.write_bytes(data)
    elif how == "gone":
        path.unlink()
    else:
        path.with_name(path.name.split(".")[0] + ".json").write_text("{")


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_room_resumes_it(subject, corpus, single, tmp_path, monkeypatch):
    from neurolocal.pipeline import checkpoint

    write, n = checkpoint.write_store, Counter()

    def full(job, *arguments, **named):
        n["write"] += 1
        if n["write"] > 2:
            raise StoreError("writing the store: the disk is full.") from OSError(
                errno.ENOSPC, "No space left on device"
            )
        return write(job, *arguments, **named)

    monkeypatch.setattr("neurolocal.pipeline.collect.write_store", full)
    with pytest.raises(NeurolocalError, match="the disk is full"):
        drive(subject, corpus, tmp_path / "s.h5")
    monkeypatch.undo()
    assert not (tmp_path / "s.h5").exists()
    drive(subject, corpus, tmp_path / "s.h5")
    assert content(tmp_path / "s.h5") == single


@pytest.mark.slow
def test_a_slow_worker_is_overtaken(subject, corpus, single, tmp_path):
    """Worker 0 hangs in its first shard until it is told to stop; another one does that shard."""
    said, hangs, pools = [], threading.Event(), []

    def fault(worker, method, arguments):
        if method == "collect" and worker == 0 and not hangs.is_set():
            hangs.set()
            me = pools[0].workers[0][1]
            while not me._stop.is_set():
                time.sleep(0.01)

    request = CollectRequest(subject.name, corpus, tmp_path / "s.h5", CollectConfig(**SETTINGS))
    pools.append(pool_of(request, subject, fault))
    drive(subject, corpus, tmp_path / "s.h5", pool=pools[0], said=said, slow=2.0, shards=10)
    assert any(line.endswith("takes long; another worker begins it as well") for line in said)
    assert content(tmp_path / "s.h5") == single


def test_what_every_worker_would_meet_ends_the_run(subject, corpus, tmp_path):
    with pytest.raises(NeurolocalError, match="layers 9: the subject has layers 0 to 4"):
        drive(subject, corpus, tmp_path / "s.h5", config={"layers": (9,)})
    missing = tmp_path / "none.jsonl"
    with pytest.raises(NeurolocalError, match=r"none\.jsonl"):
        drive(subject, missing, tmp_path / "s.h5")


@pytest.mark.slow
def test_shards_of_something_else_are_refused_or_replaced(subject, corpus, single, tmp_path):
    store = tmp_path / "s.h5"

    def fault(worker, method, arguments):
        return Failed("no", True) if method == "merge" else None

    with pytest.raises(NeurolocalError, match=r"^no$"):
        drive(subject, corpus, store, fault=fault, config={"k": 4})
    with pytest.raises(StoreError, match=r"shards were made from something else \(config\.k: 4 -> 5\)"):
        drive(subject, corpus, store)
    drive(subject, corpus, store, replace=True)
    assert content(store) == single


@pytest.mark.slow
def test_a_corpus_that_changes_under_a_run_is_noticed(subject, corpus, tmp_path):
    """Shard 2 reads another text than the driver did; it fails as often as it is tried."""
    text = corpus.read_text()
    mine = tmp_path / "c.jsonl"
    mine.write_text(text)

    def fault(worker, method, arguments):
        if method == "collect" and arguments[1].number >= 2:
            mine.write_text(text.replace("Lily", "Lila"))

    said = []
    try:
        outcome = drive(subject, mine, tmp_path / "s.h5", fault=fault, said=said, workers=1)
        assert not outcome.complete
    except NeurolocalError as error:
        said.append(str(error))
    assert any("The corpus was changed" in line or "was changed between" in line for line in said)


@pytest.mark.slow
def test_the_plan_may_be_cut_anywhere(subject, corpus, single, tmp_path):
    """A kill while a line is written: the shards behind it are found again."""
    store = tmp_path / "s.h5"

    def fault(worker, method, arguments):
        return Failed("no", True) if method == "merge" else None

    with pytest.raises(NeurolocalError):
        drive(subject, corpus, store, fault=fault, shards=10)
    plan = ShardFolder(store).path / "plan.jsonl"
    lines = plan.read_text().splitlines()
    assert len(lines) > 4
    plan.write_text("\n".join(lines[:2]) + "\n" + lines[2][: len(lines[2]) // 2])
    assert json.loads(lines[0])["begin"]["batches"] == 0
    drive(subject, corpus, store)
    assert content(store) == single
