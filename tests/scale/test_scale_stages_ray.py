"""Stages and a site on a real Ray cluster: the tables of one process, with a worker killed; a run that is stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from contents import content
from small_run import write_corpus, write_vectors

from neurolocal.config import (
    CollectConfig,
    InterventionConfig,
    PerturbationConfig,
    ScaleConfig,
    ScoreConfig,
    SimilarityConfig,
    SummaryConfig,
)
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.scale.neurons import stages_on_ray
from neurolocal.scale.pages import pages_on_ray
from neurolocal.site.build import write_site

COLLECT = CollectConfig(row_length=48, k=6, max_rows=48, before=10, after=5, layers=(1, 3), sample=64, logits=0)
PERTURB = PerturbationConfig(examples=3, neighbours=2, controls=2, permutations=30, screen=8)
LONG = PerturbationConfig(examples=8, neighbours=5, controls=5, permutations=2000, screen=120)
"""Takes so long that a signal comes in time on a busy machine."""
STAGES = {
    "perturbation": PERTURB,
    "intervention": InterventionConfig(limit=11, examples=2, places=2, controls=2, tokens=3),
    "summary": SummaryConfig(limit=2),
    "score": ScoreConfig(limit=2, texts=2, rows=4, draws=20),
}
WAIT = 1200.0
"""Seconds after which it is given up; on a busy machine a worker takes minutes to begin."""


@pytest.fixture(scope="module")
def made(subject: Any, fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store that similarity has seen."""
    from neurolocal.pipeline.collect import Collection, collect_store

    folder = tmp_path_factory.mktemp("made")
    write_vectors(folder / "vectors.txt")
    corpus = write_corpus(folder / "corpus.jsonl", documents=24)
    collect_store(Collection(subject, corpus, folder / "s.h5", COLLECT), say=lambda line: None, bar=False)
    run_stage("similarity", workspace(folder), SimilarityConfig(draws=19))
    return folder


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As each worker has: kernels may round differently with another number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


def workspace(folder: Path, **more: Any) -> Workspace:
    given = {"vectors": str(folder / "vectors.txt"), "device": "cpu", "bar": False, "sides": ("largest",)} | more
    return Workspace(folder / "s.h5", **{"say": lambda line: None, **given})


def workers() -> list[psutil.Process]:
    """The actors of this process's cluster."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "ray::StageWorker" in " ".join([process.name(), *process.cmdline()]):
                found.append(process)
    return found


@pytest.mark.slow
def test_on_a_cluster_every_table_and_page_is_that_of_one_process(
    made: Path, stories_gguf: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("llama_cpp")
    one, here = (Path(shutil.copytree(made, tmp_path / name)) for name in ("one", "here"))
    scale, killed = ScaleConfig(engine="ray", workers=2), list[int]()

    def engine(*arguments: Any) -> Iterator[Any]:
        for answer in stages_on_ray(scale)(*arguments):
            if not killed:
                process = workers()[0]
                process.kill()
                killed.append(process.pid)
            yield answer

    for name, config in STAGES.items():
        said: list[str] = []
        run_stage(name, workspace(one, llm=str(stories_gguf)), config)
        run_stage(name, workspace(here, llm=str(stories_gguf), say=said.append), config, engine=engine)
        assert content(here / "s.h5") == content(one / "s.h5"), name
        assert any(line.startswith(f"{name}: 2 workers of ") for line in said)
        assert any("is gone; another one takes its place" in line for line in said) == (name == "perturbation")
    write_site(one / "s.h5", one / "site", top=20, processes=1, bar=False)
    write_site(one / "s.h5", here / "site", top=20, deal=pages_on_ray(scale, say=print), bar=False)
    pages = [{p.relative_to(f / "site"): p.read_bytes() for p in (f / "site").rglob("*.*")} for f in (one, here)]
    assert pages[0] == pages[1]
    assert not workers()


def _stopped(here: Path) -> bool:
    """Whether a run was interrupted, after which none of its processes is left."""
    options = [f"--{name}={getattr(LONG, name)}" for name in ("examples", "neighbours", "controls", "permutations")]
    options += ["--engine", "ray", "--workers", "2", "--side", "largest", "--vectors", "vectors.txt", "--device", "cpu"]
    options += [f"--screen={LONG.screen}"]
    command = [sys.executable, "-c", "from neurolocal.cli.main import main; main()", "perturbation", "s.h5", *options]
    log = here / "log"
    with log.open("w") as out:
        run = subprocess.Popen(command, cwd=here, stderr=out, env=dict(os.environ))
    try:
        ends = time.monotonic() + WAIT
        while not list(here.glob("s.h5.perturbation-*.jsonl")):  # the first parts are dealt, and none may be done
            assert run.poll() is None, log.read_text()
            assert time.monotonic() < ends, log.read_text()
            time.sleep(0.02)
        others = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(signal.SIGINT)
        interrupted = run.wait(WAIT) != 0
        _, left = psutil.wait_procs(others, timeout=WAIT)
        assert not left
        return interrupted
    finally:
        run.kill()


@pytest.mark.slow
def test_a_run_that_is_stopped_leaves_no_process_and_resumes(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    one = Path(shutil.copytree(made, tmp_path / "one"))
    run_stage("perturbation", workspace(one), LONG)
    # on a busy machine a run may end before the signal reaches it
    tries = (Path(shutil.copytree(made, tmp_path / f"here{i}")) for i in range(5))
    here = next(folder for folder in tries if _stopped(folder))
    said: list[str] = []
    run_stage("perturbation", workspace(here, say=said.append), LONG)
    assert content(here / "s.h5") == content(one / "s.h5")
    assert not list(here.glob("s.h5.perturbation-*"))
