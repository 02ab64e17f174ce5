"""`check` of a store: its result in lines, as JSON and as an exit status, with and without a replay."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest

from neurolocal.errors import StoreError
from neurolocal.pipeline.check import SHOWN, check_store


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


def test_a_damaged_store_is_not_replayed_and_its_faults_are_listed_once(whole: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    shutil.copy(whole[0], path)
    with h5py.File(path, "r+") as file:
        for layer in (0, 2, 4):
            lists: Any = file[f"collect/post/{layer}/largest/activation"]
            lists[:] = lists[()][:, ::-1]
    said: list[str] = []
    result = check_store(path, n=20, subject="none such", device=None, seed=0, say=said.append)
    assert not result.ok
    assert result.replayed is None
    n = len(result.report.faults)
    assert n >= 3
    assert said[-1] == f"check: {path} has {n} faults"
    assert sum(line.startswith("  ") for line in said) == min(n, SHOWN + 1)
    assert len(json.loads(result.json())["faults"]) == n


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        check_store(tmp_path / "no.h5", n=None, subject=None, device=None, seed=0, say=print)
