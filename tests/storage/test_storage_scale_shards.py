"""Workers without a common disk: their shards are at an address."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neurolocal.config import CollectConfig
from neurolocal.errors import ConfigError, StoreError
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.scale.driver import Driver

sys.path.append(str(Path(__file__).parents[1] / "scale"))

from contents import content
from task_twins import DIE
from worker_twins import SETTINGS, drive, write_text


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("corpus") / "c.jsonl")


@pytest.fixture(scope="module")
def single(subject: Any, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("single") / "s.h5"
    collect_store(Collection(subject, corpus, path, CollectConfig(**SETTINGS)), say=lambda line: None, bar=False)
    return content(path)


def once_dead(method: str) -> Any:
    """A fault: the first worker that does this dies over it."""
    tried = Counter[str]()

    def fault(worker: int, asked: str, arguments: Any) -> Any:
        tried[asked] += 1
        return DIE if asked == method and tried[asked] == 1 else None

    return fault


@pytest.fixture
def place(bucket: Any) -> Iterator[str]:
    return "memory://bucket/run"


def test_the_store_is_that_of_a_single_process(
    subject: Any, corpus: Path, single: Any, bucket: Any, place: str, tmp_path: Path
) -> None:
    """A worker is killed over a shard; nothing but notes lies beside the store, and nothing is left at the address."""
    store, seen, beside = tmp_path / "s.h5", set[str](), set[str]()

    def fault(worker: int, method: str, arguments: Any) -> Any:
        seen.update(name.rpartition("/")[2] for name in bucket.find("/bucket"))
        beside.update(path.suffix for path in (tmp_path / "s.h5.shards").glob("*"))
        return dead(worker, method, arguments)

    dead = once_dead("collect")
    outcome = drive(subject, corpus, store, workers=3, shards_at=place, fault=fault)
    assert outcome.complete
    assert content(store) == single
    assert sum(name.endswith(".h5") and "-" in name for name in seen) >= 4
    assert beside == {".json", ".jsonl"}
    assert bucket.find("/bucket") == []
    assert not (tmp_path / "s.h5.shards").exists()


def test_a_driver_resumes_from_what_is_there(
    subject: Any, corpus: Path, single: Any, bucket: Any, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies before the last merge; one shard is damaged at the address meanwhile, and one is gone."""
    store, said, collected = tmp_path / "s.h5", list[str](), list[int]()

    def killed(self: Driver, prepared: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Driver, "_finish", killed)
        with pytest.raises(KeyboardInterrupt):
            drive(subject, corpus, store, shards_at=place)
    notes = [json.loads(path.read_text()) for path in sorted((tmp_path / "s.h5.shards").glob("*-*.json"))]
    files = {name.rpartition("/")[2]: name for name in bucket.find("/bucket")}
    assert {note["file"] for note in notes} <= set(files)
    first, second = (files[note["file"]] for note in notes[:2])
    data = bytearray(bucket.cat_file(first))
    data[len(data) // 2] ^= 1
    bucket.pipe_file(first, bytes(data))
    bucket.rm_file(second)

    def watch(worker: int, method: str, arguments: Any) -> Any:
        if method == "collect":
            collected.append(arguments[1].number)

    with pytest.raises(StoreError, match=r"its shards were made with --shards-at memory://bucket/run\. Give it again"):
        drive(subject, corpus, store)
    drive(subject, corpus, store, shards_at=place, fault=watch, said=said)
    assert content(store) == single
    assert sorted(set(collected)) == [0, 1]
    assert sum("is damaged; its shards are collected again" in line for line in said) == 2


def test_a_shard_that_is_damaged_before_its_merge_is_collected_again(
    subject: Any, corpus: Path, single: Any, bucket: Any, place: str, tmp_path: Path
) -> None:
    done, said = list[str](), list[str]()

    def fault(worker: int, method: str, arguments: Any) -> Any:
        if method == "merge" and not done:
            part, file = arguments[0][1]
            done.append(part.file)
            bucket.pipe_file(f"/{file.path}", bytes(part.bytes))  # of the right size

    drive(subject, corpus, tmp_path / "s.h5", shards_at=place, fault=fault, said=said)
    assert content(tmp_path / "s.h5") == single
    assert any(f"{done[0]} is damaged; its shards are collected again" in line for line in said)


def test_a_path_of_this_machine_is_no_address(subject: Any, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shards_at = .*: a path of this machine, and an address is expected"):
        drive(subject, corpus, tmp_path / "s.h5", shards_at=str(tmp_path / "shards"))


def test_a_store_that_is_there_is_not_replaced(
    subject: Any, corpus: Path, place: str, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers on other machines do not see the file at the store's path."""
    (tmp_path / "s.h5").write_bytes(b"mine")
    monkeypatch.setattr("neurolocal.pipeline.collect.as_begun", lambda job, _: job)
    monkeypatch.setattr("neurolocal.pipeline.collect.existing", lambda *_, **__: None)
    with pytest.raises(StoreError, match="its workers do not see it"):
        drive(subject, corpus, tmp_path / "s.h5", shards_at=place)
    assert (tmp_path / "s.h5").read_bytes() == b"mine"


@pytest.mark.slow
def test_on_s3_with_a_worker_killed(subject: Any, corpus: Path, single: Any, s3: Any, tmp_path: Path) -> None:
    outcome = drive(subject, corpus, tmp_path / "s.h5", shards_at="s3://bucket/run", fault=once_dead("collect"))
    assert outcome.complete
    assert content(tmp_path / "s.h5") == single
    assert s3.find("bucket") == []
