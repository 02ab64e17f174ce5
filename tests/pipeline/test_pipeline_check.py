"""`check` of a store: its result in lines, as JSON and as an exit status, with and without a replay."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest

from neurolocal.errors import StoreError, SubjectError
from neurolocal.pipeline import check as module
from neurolocal.pipeline.check import SHOWN, check_store
from neurolocal.store import check


@pytest.fixture(params=[1, 16])
def cores(request, monkeypatch) -> int:
    """With few cores the check comes first, with many it runs beside the loading; both say the same."""
    monkeypatch.setattr(module, "cores", lambda: request.param)
    return request.param


@pytest.mark.usefixtures("cores")
def test_a_whole_store_is_whole_and_replays(whole: Any, fixtures: Path) -> None:
    said: list[str] = []
    result = check_store(whole[0], n=20, subject=str(fixtures / "stories260k"), device="cpu", seed=0, say=said.append)
    assert result.ok
    assert f"check: {whole[0]} is whole" in said
    assert said[-1].startswith("replay: 20 examples in ")
    found = json.loads(result.json())
    assert found["ok"] is True
    assert found["faults"] == []
    assert found["replay"]["examples"] == 20
    assert found["replay"]["off"] == []


@pytest.fixture
def damaged(whole: Any, tmp_path: Path) -> Path:
    """The whole store with the lists of three layers the wrong way round."""
    path = tmp_path / "s.h5"
    shutil.copy(whole[0], path)
    with h5py.File(path, "r+") as file:
        for layer in (0, 2, 4):
            lists: Any = file[f"collect/post/{layer}/largest/activation"]
            lists[:] = lists[()][:, ::-1]
    return path


@pytest.mark.usefixtures("cores")
def test_a_damaged_store_is_not_replayed_and_its_faults_are_listed_once(damaged: Path) -> None:
    path = damaged
    said: list[str] = []
    result = check_store(path, n=20, subject="none such", device=None, seed=0, say=said.append)
    assert not result.ok
    assert result.replayed is None
    n = len(result.report.faults)
    assert n >= 3
    assert said[-1] == f"check: {path} has {n} faults"
    assert sum(line.startswith("  ") for line in said) == min(n, SHOWN + 1)
    assert len(json.loads(result.json())["faults"]) == n


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize("n", [None, 3])
def test_what_is_no_store_is_refused(tmp_path: Path, n: int | None) -> None:
    with pytest.raises(StoreError, match="no such file"):
        check_store(tmp_path / "no.h5", n=n, subject=None, device=None, seed=0, say=print)


def test_where_the_other_process_ends_the_check_is_made_here(damaged: Path, fixtures: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "cores", lambda: 16)
    monkeypatch.setenv("TESTING", str(os.getpid()))
    expected = check(damaged, progress=False)
    monkeypatch.setattr(module, "check", ends_elsewhere)
    result = check_store(
        damaged, n=5, subject=str(fixtures / "stories260k"), device="cpu", seed=0, say=lambda line: None
    )
    assert result.report == expected


def ends_elsewhere(path: Path, *, progress: bool = True) -> Any:
    """A check whose process is killed, unless it is that of the tests."""
    if os.environ["TESTING"] != str(os.getpid()):
        os._exit(9)
    return check(path, progress=progress)


@pytest.mark.usefixtures("cores")
def test_a_subject_that_cannot_be_loaded_is_said_after_the_check(whole: Any) -> None:
    said: list[str] = []
    with pytest.raises(SubjectError, match="none such"):
        check_store(whole[0], n=20, subject="none such", device=None, seed=0, say=said.append)
    assert said[-1] == f"check: {whole[0]} is whole"
