"""A workspace: which places it names, what it refuses, and that it sees what a stage wrote."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from neurolocal.errors import LLMError, StoreError
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace


@pytest.fixture
def path(whole: Any, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole[0], tmp_path / "s.h5"))


def quiet(path: Path, **more: Any) -> Workspace:
    return Workspace(path, say=lambda line: None, bar=False, **more)


def test_places_are_layers_times_sides(path: Path) -> None:
    assert quiet(path).places() == [(layer, side) for layer in (0, 2, 4) for side in ("largest", "smallest")]
    assert quiet(path, layers=(4, 2), sides=("smallest",)).places() == [(2, "smallest"), (4, "smallest")]
    with pytest.raises(StoreError, match="looking for layer 3"):
        quiet(path, layers=(3,)).places()
    with pytest.raises(StoreError, match="Collect with --sign-cases"):
        quiet(path, sides=("gate+_in+",)).places()


def test_it_sees_what_a_stage_wrote_after_a_reload(path: Path) -> None:
    workspace, other = quiet(path, layers=(2,)), quiet(path, layers=(2,))
    assert other.store.evidence("verdict", 2) is None
    assert other.hash_of("verdict", 2, "largest") is None
    run_stage("verdict", workspace)
    assert workspace.store.evidence("verdict", 2) is not None, "the stage's own workspace is up to date"
    assert other.store.evidence("verdict", 2) is None, "an open store keeps the file that it opened"
    other.reload()
    assert other.store.evidence("verdict", 2) is not None
    assert other.hash_of("verdict", 2, "largest") == workspace.hash_of("verdict", 2, "largest")


def test_an_llm_is_named_without_loading_it(path: Path, tmp_path: Path) -> None:
    assert quiet(path).llm_name is None
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    named = quiet(path, llm=str(tmp_path / "a.gguf")).llm_name
    assert named is not None
    assert named["name"] == "a.gguf"
    with pytest.raises(LLMError, match=r"no such file; .* Give one with --llm FILE\.gguf"):
        _ = quiet(path, llm=str(tmp_path / "b.gguf")).llm_name


def test_journals_of_the_ends_have_names_of_their_own(path: Path) -> None:
    names = {quiet(path).journal("summary", 2, side, {}).path.name for side in ("largest", "smallest", "gate+_in+")}
    assert names == {"s.h5.summary-2.jsonl", "s.h5.summary-2-smallest.jsonl", "s.h5.summary-2-gate+_in+.jsonl"}
