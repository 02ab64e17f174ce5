"""Stages whose parts are done by workers: the tables of one process, byte for byte, whatever fails."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from contents import content
from small_run import write_corpus, write_vectors
from task_twins import DIE, NEVER, Fault, ThreadPool

from neurolocal.cli.run import run as run_command
from neurolocal.config import (
    CollectConfig,
    PerturbationConfig,
    ScaleConfig,
    ScoreConfig,
    SimilarityConfig,
    SummaryConfig,
)
from neurolocal.errors import ConfigError, NeurolocalError
from neurolocal.pipeline.stages import run_stage, stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.scale.cluster import Resources, ScaleError
from neurolocal.scale.deal import Dealer
from neurolocal.scale.neurons import StageRequest, StageWorker, for_workers, stages_on_ray
from neurolocal.stage import Engine, Parts, Stage, Task

COLLECT = CollectConfig(row_length=48, k=6, max_rows=24, before=10, after=5, layers=(1, 3), sample=64, logits=0)
PERTURB = PerturbationConfig(examples=3, neighbours=2, controls=2, permutations=30, screen=6)
SUMMARY = SummaryConfig(limit=3)
SCORE = ScoreConfig(limit=2, texts=2, rows=4, draws=20)
STAGES = {"perturbation": PERTURB, "summary": SUMMARY, "score": SCORE}


@pytest.fixture(scope="module")
def made(subject: Any, fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store that similarity has seen."""
    from neurolocal.pipeline.collect import Collection, collect_store

    folder = tmp_path_factory.mktemp("made")
    write_vectors(folder / "vectors.txt")
    corpus = write_corpus(folder / "corpus.jsonl", documents=12)
    collect_store(Collection(subject, corpus, folder / "s.h5", COLLECT), say=lambda line: None, bar=False)
    run_stage("similarity", workspace(folder), SimilarityConfig(draws=19))
    return folder


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurolocal.perturbation.layer_run.ROWS", 4)


@pytest.fixture(scope="module")
def one(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The content of the store after each stage of one process."""
    here, found = Path(shutil.copytree(made, tmp_path_factory.mktemp("one") / "run")), dict[str, dict[str, Any]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neurolocal.perturbation.layer_run.ROWS", 4)
        for name, config in STAGES.items():
            run_stage(name, workspace(here), config)
            found[name] = content(here / "s.h5")
    return found


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def workspace(folder: Path, **more: Any) -> Workspace:
    given = {"vectors": str(folder / "vectors.txt"), "device": "cpu", "bar": False, "sides": ("largest",)} | more
    return Workspace(folder / "s.h5", **{"say": lambda line: None, **given})


def threads(fault: Fault = lambda *_: None) -> Engine:
    """Two workers that are threads."""

    def engine(one: Stage, space: Workspace, config: Any, parts: Parts, tasks: Iterable[Task]) -> Iterator[Any]:
        request = StageRequest(one.name, for_workers(space, Resources(2, 0, 1)), config)
        pool = ThreadPool(lambda: StageWorker(request, threads=None), fault)
        settings = ScaleConfig(engine="ray", slow=NEVER)
        yield from Dealer(pool, settings, workers=2, name=one.name, say=space.say).answers(tasks)

    return engine


def test_every_stage_gives_the_tables_of_one_process(here: Path, one: dict[str, dict[str, Any]]) -> None:
    for name, config in STAGES.items():
        said: list[str] = []
        run_stage(name, workspace(here, say=said.append), config, engine=threads())
        assert content(here / "s.h5") == one[name], name
        assert not list(here.glob(f"s.h5.{name}-*")), "a journal was left"
        without = [line for line in said if "no --llm given" in line]
        assert len(without) == (name != "perturbation"), "what both workers say is said once"


def test_workers_that_die_and_a_part_that_fails_three_times(here: Path, one: dict[str, dict[str, Any]]) -> None:
    tried: Counter[Task] = Counter()

    def fault(worker: int, method: str, arguments: tuple[Any, ...]) -> Any:
        if method == "do":
            (task,) = arguments
            tried[task] += 1
            if task.layer == 3 and task.part == 2:
                raise MemoryError("too large")
            return DIE if task.part % 3 == 0 and tried[task] == 1 else None
        return None

    said: list[str] = []
    with pytest.raises(NeurolocalError) as caught:
        run_stage("perturbation", workspace(here, say=said.append), PERTURB, engine=threads(fault))
    assert str(caught.value) == (
        f"perturbation of {here / 's.h5'}: 1 parts could not be done, in layers 3; these have no table. One is batch 2 "
        "of layer 3, largest: MemoryError: too large. What is finished is kept: run the same command again."
    )
    last = "perturbation: part 2 of layer 3, largest, failed (3 of 3) and is set aside: MemoryError: too large"
    assert last in said
    space = workspace(here)
    assert space.inputs("perturbation", 1, "largest") is not None
    assert space.inputs("perturbation", 3, "largest") is None
    again: list[Task] = []
    run_stage("perturbation", workspace(here), PERTURB, engine=threads(lambda w, m, a: again.extend(a)))
    assert again == [Task(3, "largest", 2)]
    assert content(here / "s.h5") == one["perturbation"]


class StoppedError(Exception):
    pass


def test_a_run_that_was_stopped_resumes(here: Path, one: dict[str, dict[str, Any]]) -> None:
    space, work = workspace(here), stage("perturbation").work
    with work(space, PERTURB) as parts:
        assert isinstance(parts, Parts)
        all_tasks = [Task(*place, part) for place in space.places() for part in parts.split(*place)]

    def stops(after: int) -> Engine:
        def engine(*arguments: Any) -> Iterator[Any]:
            for i, answer in enumerate(threads()(*arguments)):
                if i == after:
                    raise StoppedError
                yield answer

        return engine

    with pytest.raises(StoppedError):
        run_stage("perturbation", workspace(here), PERTURB, engine=stops(5))
    done = sum(len(path.read_text().splitlines()) - 1 for path in here.glob("s.h5.perturbation-*.jsonl"))
    assert done == 5
    again: list[Task] = []
    run_stage("perturbation", workspace(here), PERTURB, engine=threads(lambda w, m, a: again.extend(a)))
    assert len(again) == len(all_tasks) - done
    assert content(here / "s.h5") == one["perturbation"]


def test_an_error_that_one_process_has_too_ends_the_run(here: Path) -> None:
    with pytest.raises(NeurolocalError, match=r"nowhere"):
        run_stage("perturbation", workspace(here, subject="nowhere"), PERTURB, engine=threads())


def test_after_a_failed_read_a_worker_opens_the_store_anew(here: Path) -> None:
    request = StageRequest("perturbation", for_workers(workspace(here), Resources(1, 0, 1)), PERTURB)
    worker = StageWorker(request, threads=None)
    assert worker.load() is None
    before = worker._workspace.store

    def fail(*_: Any) -> Any:
        raise OSError(116, "Stale file handle")

    assert worker._parts is not None
    worker._parts = dataclasses.replace(worker._parts, part=fail)
    with pytest.raises(OSError, match="Stale"):
        worker.do(Task(1, "largest", 0))
    assert worker._workspace.store is not before


def test_where_there_is_nothing_to_do_no_cluster_is_started(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    engine = stages_on_ray(ScaleConfig(engine="ray"))
    with pytest.raises(ScaleError, match=r"perturbation with --engine ray: .*ray is not installed.*or omit --engine"):
        run_stage("perturbation", workspace(here), PERTURB, engine=engine)
    run_stage("perturbation", workspace(here), PERTURB)
    run_stage("perturbation", workspace(here), PERTURB, engine=engine)


def test_workers_find_everything_from_any_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    space = Workspace(Path("s.h5"), vectors="vectors.txt", llm="llm.gguf")
    (here / "llm.gguf").touch()
    made = for_workers(space, Resources(1, 0, 1))
    subject = str(Path(space.store.manifest["subject"]["path"]).resolve())
    assert (made.path, made.vectors, made.llm) == (here / "s.h5", str(here / "vectors.txt"), str(here / "llm.gguf"))
    assert (made.subject, made.device) == (subject, "cpu")
    assert for_workers(space, Resources(1, 2, 1)).device == "auto"
    assert for_workers(dataclasses.replace(space, vectors="glove"), Resources(1, 1, 1)).vectors == "glove"


@pytest.mark.parametrize("name", STAGES)
def test_the_commands(name: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    asked: list[Any] = []
    monkeypatch.setattr("neurolocal.scale.neurons.stages_on_ray", lambda scale: scale)
    monkeypatch.setattr("neurolocal.pipeline.stages.run_stage", lambda *_, engine: asked.append(engine))
    command = getattr(importlib.import_module(f"neurolocal.cli.{name}"), name)
    given = [str(here / "s.h5"), "--engine", "ray", "--workers", "3", "--address", "auto", "--attempts", "5"]
    assert CliRunner().invoke(command, given).exit_code == 0
    assert asked == [ScaleConfig(engine="ray", workers=3, address="auto", attempts=5)]
    refused = CliRunner().invoke(command, [str(here / "s.h5"), "--workers", "3"])
    assert isinstance(refused.exception, ConfigError)


def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, asked = tmp_path / "RUN.toml", list[Any]()
    text = '[run]\nsubject = "m"\ncorpus = "c"\nstore = "s.h5"\n'
    monkeypatch.setattr("neurolocal.scale.neurons.stages_on_ray", lambda scale: scale.workers)
    monkeypatch.setattr("neurolocal.pipeline.run.run_all", lambda run, **more: asked.append(more.get("engine")))
    for more in ("", '[scale]\nengine = "ray"\nworkers = 2\n'):
        path.write_text(text + more)
        done = CliRunner().invoke(run_command, [str(path)])
        assert done.exit_code == 0, done.output
    assert asked == [None, 2]
