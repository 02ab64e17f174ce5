"""The reports come before each stage that takes long, and a run can end after any stage."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import pytest
from small_run import write_run

from neurolocal.config import ScoreConfig
from neurolocal.errors import ConfigError
from neurolocal.pipeline import run as runs
from neurolocal.pipeline.run import Run, read_run, run_all
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.stage import Stage
from neurolocal.store import Store

RANKED, TESTED = {"verdict"}, {"perturbation", "verdict"}
"""What has run before the words are replaced, and before the LLM is asked."""

MODEL = Path(__file__).parents[1] / "store" / "golden_0_1_0" / "model"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    path = write_run(tmp_path, MODEL)
    return dataclasses.replace(read_run(path), llm=str(tmp_path / "absent.gguf"))


def run_whole(run: Run, **more: Any) -> None:
    """The whole run, as the demo does it: without an LLM where it cannot be used."""
    run_all(run, limit=1, needs_llm=False, **{"say": lambda line: None} | more)


def stages_at_each_report(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Which stages had run whenever the page was written."""
    found: list[set[str]] = []
    write = runs._report

    def watched(run: Run, *rest: object) -> None:
        with Store(run.store) as store:
            found.append({name for name in ("perturbation", "verdict", "summary") if store.inputs(name, 1, "largest")})
        write(run, *rest)

    monkeypatch.setattr(runs, "_report", watched)
    return found


def test_the_page_is_there_before_the_descriptions(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reports, said = stages_at_each_report(run, monkeypatch), list[str]()
    run_whole(run, say=said.append)
    assert reports == [RANKED, TESTED, TESTED | {"summary"}]
    assert "the page can be opened now; perturbation follows, which may change the verdicts" in said
    assert "the page can be opened now; summary follows" in said
    run_whole(run)
    assert len(reports) == 4  # nothing was missing: once, at the end


def test_a_run_ends_after_a_stage_and_goes_on_later(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = stages_at_each_report(run, monkeypatch)
    scored = ScoreConfig(limit=1, rows=6, texts=2)  # a second stage that asks the LLM makes no further report
    run = dataclasses.replace(run, configs={**run.configs, "score": scored})
    plain = runs.run_stage

    def as_with_an_llm(stage: Stage, workspace: Workspace, config: Any, **more: Any) -> None:
        plain(stage, dataclasses.replace(workspace, llm=None), config, **more)

    monkeypatch.setattr(runs, "run_stage", as_with_an_llm)
    run_whole(run, until="verdict")
    assert reports == [RANKED, TESTED]
    assert run.page.is_file()
    run_whole(run)
    assert reports == [RANKED, TESTED, TESTED | {"summary"}]  # the page was current when the LLM was to be asked


def test_whether_a_page_is_current_does_not_depend_on_the_clock(run: Run) -> None:
    run_whole(run, until="similarity")
    workspace = runs._workspace(run, lambda line: None)
    set_clock(run.page, -86_400)
    assert runs._page_is_current(run, workspace)  # though it seems older than the store
    run_stage("verdict", workspace)
    set_clock(run.page, 86_400)
    assert not runs._page_is_current(run, workspace)  # though it seems newer
    run.page.unlink()
    assert not runs._page_is_current(run, workspace)


def set_clock(path: Path, seconds: float) -> None:
    """Date a file so many seconds after now."""
    now = time.time()
    os.utime(path, (now + seconds, now + seconds))


def test_a_run_that_ends_before_the_verdict_gives_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = stages_at_each_report(run, monkeypatch)
    run_whole(run, until="perturbation")
    assert reports == [set(), {"perturbation"}]


def test_an_unknown_stage_is_refused_before_anything_starts(run: Run) -> None:
    with pytest.raises(ConfigError, match="running until colour: there is no such stage; they are similarity, "):
        run_whole(run, until="colour")
    assert not run.store.exists()


def test_without_an_llm_the_reports_wait_for_no_description(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = stages_at_each_report(run, monkeypatch)
    run_whole(dataclasses.replace(run, llm=None))
    assert reports == [RANKED, TESTED | {"summary"}]
