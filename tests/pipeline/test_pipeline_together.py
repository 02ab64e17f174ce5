"""Two processes on one store: they take turns, or one is told who is at work; nothing that was done is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_collection import run

from neurolocal.config import VerdictConfig
from neurolocal.errors import StoreError
from neurolocal.files import locked
from neurolocal.pipeline.journal import Journal
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.store import Store, check

PAIRS = 50


def aside(work: Callable[[], None], wait: float) -> int:
    """Start work in a copy of this process; gives its number."""
    pid = os.fork()
    if pid == 0:
        time.sleep(wait)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_verdicts_of_two_layers_at_once_lose_nothing(whole, tmp_path, rng) -> None:
    path = tmp_path / "s.h5"

    def decide(layer: int) -> None:
        def hear(line: str) -> None:
            pass

        workspace = Workspace(path, (layer,), sides=("largest",), say=hear, bar=False)
        run_stage("verdict", workspace, VerdictConfig())

    for _ in range(PAIRS):
        path.write_bytes(whole[0].read_bytes())
        pids = [aside(lambda: decide(0), 0.0), aside(lambda: decide(2), float(rng.uniform(0, 0.05)))]
        assert [ended(pid) for pid in pids] == [0, 0]
        with Store(path) as store:
            assert store.evidence("verdict", 0) is not None
            assert store.evidence("verdict", 2) is not None
    assert check(path, progress=False).faults == ()
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name or "holder" in p.name] == []


def test_a_second_collection_is_told_who_collects(subject, corpus, tmp_path) -> None:
    path = tmp_path / "s.h5"
    code = (
        "import sys, time; from pathlib import Path; from neurolocal.files import locked\n"
        f"with locked(Path({str(path)!r}), doing='collecting into'):\n"
        "    print('held', flush=True); time.sleep(900)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=rf"is being written by process {other.pid} on .* \(-c\)\. Wait until"):
            run(subject, corpus, path)
        assert not path.exists()
        other.kill()
    outcome = run(subject, corpus, path)
    assert outcome is not None, "the lock of a dead process stops nobody"
    assert outcome.complete


def test_results_are_not_written_into_a_store_that_was_collected_anew(whole, subject, corpus, tmp_path) -> None:
    path = tmp_path / "s.h5"
    path.write_bytes(whole[0].read_bytes())
    workspace = Workspace(path, (0,), sides=("largest",), say=lambda line: None, bar=False)
    assert workspace.store.layers
    run(subject, corpus, path, replace=True, k=4)
    with pytest.raises(StoreError, match="it was collected anew while verdict was working"):
        run_stage("verdict", workspace, VerdictConfig())


def test_one_process_keeps_a_journal(tmp_path) -> None:
    path = tmp_path / "s.h5.score-1.jsonl"
    first = Journal(path, {"a": 1})
    code = (
        "from pathlib import Path; from neurolocal.pipeline.journal import Journal\n"
        f"Journal(Path({str(path)!r}), {{'a': 1}})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"is being written by process {os.getpid()}" in found.stderr
    first.add(3, {"x": 1})
    first.remove()
    assert Journal(path, {"a": 1}).parts == {}


def test_a_process_may_hold_a_lock_twice(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with locked(path, doing="a"), locked(path, doing="b"):
        assert path.with_name(".a.holder").is_file()
    assert not path.with_name(".a.holder").exists()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match=r"writing .*file/a: there is no folder .*file\. Make the folder, or choose"),
        locked(tmp_path / "file" / "a", doing="writing", error=StoreError),
    ):
        pass
