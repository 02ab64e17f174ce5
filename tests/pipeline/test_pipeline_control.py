"""The untrained control: the same run on other weights, whose counts stand beside the run's wherever they are shown."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from small_collection import content
from small_run import write_run

from neurolocal.config import VerdictConfig
from neurolocal.pipeline.control import untrained_run
from neurolocal.pipeline.run import Run, read_run, run_all
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.report import layer_verdicts, print_table, report_rows
from neurolocal.store import Store

MODEL = Path(__file__).parents[1] / "store" / "golden_0_1_0" / "model"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with a control, up to the verdicts."""
    folder = tmp_path_factory.mktemp("control")
    done(read_run(write_run(folder, MODEL, "[control]\nuntrained = true\nseed = 3\n")))
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Run:
    """The same in a folder of its own."""
    return read_run(shutil.copytree(finished, tmp_path / "run") / "RUN.toml")


def done(run: Run) -> list[str]:
    said = list[str]()
    run_all(run, limit=1, say=said.append, until="verdict")
    return said


def test_its_counts_stand_beside_the_runs(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = read_run(finished / "RUN.toml")
    with Store(run.store) as store, Store(run.store.with_name("s-untrained.h5")) as drawn:
        tally = Counter(drawn.evidence("verdict", 1).verdict)
        own = layer_verdicts(store, 1)
        assert own.untrained is not None
        assert {name: n for name, n in own.untrained.items() if n} == dict(tally)
        assert sum(own.counts.values()) == sum(tally.values()) == own.neurons
        assert drawn.layers == [1]  # those that are analysed
        trained, other = store.manifest["subject"], drawn.manifest["subject"]
        assert (other["untrained"], other["path"]) == (3, trained["path"])
        assert other["sha256"] != trained["sha256"]
        assert drawn.manifest["corpus"]["rows_sha256"] == store.manifest["corpus"]["rows_sha256"]
        assert drawn.statistics(1).mean.tolist() != store.statistics(1).mean.tolist()
        print_table(report_rows(store, [1]), out=sys.stdout, limit=1, verdicts={1: own}, width=200)
    words = ", ".join(f"{n:,} {name}" for name, n in own.untrained.items() if n)
    assert f"untrained weights: {words}" in capsys.readouterr().out
    assert json.loads(run.json.read_text())["verdicts_untrained"]["1"] == dict(tally)
    assert run.page.read_text().count('<th scope="row">untrained</th>') == 1
    assert "the same, examples dealt at random" in run.page.read_text()


def test_a_second_run_does_nothing_again_and_an_interrupted_one_goes_on(run: Run, monkeypatch) -> None:
    before, control = content(run.store), untrained_run(run).store
    said = done(run)
    assert not [line for line in said if " are in " in line or " is in " in line]
    assert content(run.store) == before
    written = content(control) | {"manifest": None}  # the corpus has another path by now
    control.unlink()
    with monkeypatch.context() as patch:

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("neurolocal.similarity.frequency_matched_similarity", killed)  # of the control: the run's stands
        with pytest.raises(KeyboardInterrupt):
            done(run)
    assert control.exists()
    done(run)
    assert content(control) | {"manifest": None} == written
    assert content(run.store) == before


def test_verdicts_that_are_decided_anew_have_no_control(run: Run) -> None:
    workspace = Workspace(run.store, (1,), sides=("largest",), vectors=run.vectors, say=lambda line: None)
    run_stage("verdict", workspace, VerdictConfig(repetition=0.5))
    with Store(run.store) as store:
        assert layer_verdicts(store, 1).untrained is None


def test_without_the_table_there_is_no_control(tmp_path: Path) -> None:
    assert not read_run(write_run(tmp_path, MODEL)).control.untrained
    run = read_run(write_run(tmp_path, MODEL, "[control]\nuntrained = true\n"))
    assert untrained_run(dataclasses.replace(run, layers=(0,))).collect.layers == (0,)
