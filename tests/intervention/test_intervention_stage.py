"""The stage in a run: its neurons, its table, what a reader sees, and that it is not done again."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import write_run

from neurolocal import report
from neurolocal.config import InterventionConfig
from neurolocal.errors import SubjectError
from neurolocal.intervention import stage
from neurolocal.pipeline.run import read_run, run_all
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.store import Store, check

MODEL = Path(__file__).parents[1] / "store" / "golden_0_1_0" / "model"
TABLE = "[intervention]\nlimit = 5\nexamples = 2\nplaces = 3\ncontrols = 2\ntokens = 4\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    made = read_run(write_run(tmp_path_factory.mktemp("run"), MODEL, TABLE))
    run_all(made, limit=2, say=lambda line: None)
    return made


def test_a_run_has_it_and_the_store_is_whole(run) -> None:
    with Store(run.store) as store:
        table, verdicts = store.evidence("intervention", 1), store.evidence("verdict", 1)
        alive = [verdicts.neuron[i] for i in np.argsort(verdicts.rank) if verdicts.verdict[i] != "dead"]
        assert table.neuron.tolist() == sorted(int(n) for n in alive[:5])
        for i, neuron in enumerate(table.neuron.tolist()):
            own = store.examples(1, neuron, "largest")
            assert table.strongest[i] == np.float32(own[0].activation)
        assert np.isfinite(table.zero_kl).all()
        assert (table.zero_kl >= 0).all()
        assert ((table.zero_p > 0) & (table.zero_p <= 1)).all()
        assert len(table.tokens.neuron) == 5 * 2 * 2 * 4
        assert len(table.changes.neuron) == 5 * 2 * 4
        shown = StringIO()
        report.show(store, 1, int(table.neuron[0]), out=shown, width=100)
    assert "set to 0 at its own peaks" in shown.getvalue()
    assert check(run.store, progress=False).faults == ()


def test_it_is_not_done_again_and_other_settings_are(run) -> None:
    said: list[str] = []
    workspace = Workspace(run.store, layers=(1,), sides=("largest",), device="cpu", say=said.append, bar=False)
    config = InterventionConfig(limit=5, examples=2, places=3, controls=2, tokens=4)
    run_stage("intervention", workspace, config)
    assert any("not done again" in line for line in said)
    before = workspace.store.evidence("intervention", 1)
    run_stage("intervention", workspace, dataclasses.replace(config, multiple=1.0))
    after = workspace.store.evidence("intervention", 1)
    assert np.allclose(before.zero_kl, after.zero_kl, rtol=1e-4)
    assert set(after.changes.change) == {"zero", "mean", "x1"}


def test_random_places_have_a_next_token_and_controls_are_others(run) -> None:
    workspace = Workspace(run.store, layers=(1,), sides=("largest",), device="cpu", say=print, bar=False)
    rng = np.random.default_rng(0)
    config = InterventionConfig(places=6, controls=4)
    places = stage.random_places(workspace, config, rng)
    assert len({place.row for place in places}) == len(places) == 6
    with Store(run.store) as store:
        assert all(place.position + 1 < len(store.row(place.row)) for place in places)
    targets = stage.tested_neurons(workspace, 1, "largest", config)
    drawn = stage.controls(targets, np.arange(24), config, rng)
    assert drawn.shape == (len(targets), 4)
    assert all(target.neuron not in others for target, others in zip(targets, drawn.tolist(), strict=True))
    assert all(len(set(others)) == 4 for others in drawn.tolist())


def test_layers_with_experts_are_left_out(run, monkeypatch) -> None:
    workspace = Workspace(run.store, layers=(1,), sides=("largest",), device="cpu", say=print, bar=False)
    monkeypatch.setattr(type(workspace.store), "experts", lambda self, layer: object())
    assert not stage.STAGE.wanted(workspace, InterventionConfig())
    with pytest.raises(SubjectError, match="has experts"):
        stage.changeable_places(workspace)


def test_a_subject_without_unembedding_leaves_an_empty_table_and_says_so(run, tmp_path: Path, monkeypatch) -> None:
    copy = Path(shutil.copyfile(run.store, tmp_path / "s.h5"))
    said: list[str] = []
    workspace = Workspace(copy, layers=(1,), sides=("largest",), device="cpu", say=said.append, bar=False)
    monkeypatch.setattr(workspace.loaded_subject, "unembeds", False)
    monkeypatch.setattr(Workspace, "seen_from_here", lambda self, named: named)
    run_stage("intervention", workspace, InterventionConfig(limit=3))
    assert "intervention: layer 1 is left out: its files have no unembedding" in said
    with Store(copy) as store:
        assert len(store.evidence("intervention", 1).neuron) == 0
    assert check(copy, progress=False).faults == ()


def test_half_precision_collections_are_changed_in_float32(run, tmp_path: Path) -> None:
    """In bfloat16 small divergences are rounding; the subject is loaded again in float32."""
    copy = Path(shutil.copyfile(run.store, tmp_path / "s.h5"))
    workspace = Workspace(copy, layers=(1,), sides=("largest",), device="cpu", say=print, bar=False)
    assert workspace.subject_in("float32") is workspace.loaded_subject
    assert workspace.subject_in("bfloat16").dtype == torch.bfloat16
    assert workspace.loaded_subject.dtype == torch.float32


@pytest.mark.slow
def test_killed_twice_it_resumes_to_the_same_bits(run, tmp_path) -> None:
    """By the command line, killed (-9) once after the first block of the layer and once after the second."""
    folders = [tmp_path / name for name in ("killed", "whole")]
    options = ["--limit", "40", "--examples", "2", "--places", "3", "--controls", "2", "--device", "cpu"]
    options += ["--layers", "1", "--side", "largest", "--subject", str(MODEL)]
    for folder in folders:
        folder.mkdir()
        shutil.copy(run.store, folder / "s.h5")
    command = [sys.executable, "-c", "from neurolocal.cli.main import main; main()", "intervention", "s.h5", *options]
    killed = folders[0]
    journal = killed / "s.h5.intervention-1.jsonl"
    for blocks in (1, 2):
        running = subprocess.Popen(command, cwd=killed, stderr=subprocess.DEVNULL)
        while running.poll() is None and _blocks(journal) < blocks:
            time.sleep(0.001)
        assert running.poll() is None, "the kill came too late"
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert blocks <= _blocks(journal) < 3, "some blocks are done, and some are left"
    for folder in folders:
        subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)
    tables = []
    for folder in folders:
        with Store(folder / "s.h5") as store:
            tables.append(store.evidence("intervention", 1))
    assert len(tables[0].neuron) > 16, "three blocks"
    assert _same(*tables)
    assert not journal.exists()


def _blocks(journal: Path) -> int:
    """Blocks in a journal; its first line is the head."""
    return journal.read_text().count("\n") - 1 if journal.exists() else 0


def _same(a: object, b: object) -> bool:
    if dataclasses.is_dataclass(a):
        return all(_same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a == b
