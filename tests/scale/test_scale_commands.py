"""`collect --engine ray` and `[scale]` in a RUN.toml ask the engine for what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from neurolocal.cli.collect import collect
from neurolocal.cli.run import run
from neurolocal.errors import ConfigError
from neurolocal.pipeline.run import read_run
from neurolocal.scale.cluster import ScaleError
from neurolocal.scale.collect import collect_on_ray
from neurolocal.scale.worker import CollectRequest, absolute

MODEL = Path(__file__).parents[1] / "store" / "golden_0_1_0" / "model"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[CollectRequest, Any, dict[str, Any]]]:
    calls: list[tuple[CollectRequest, Any, dict[str, Any]]] = []
    monkeypatch.setattr(
        "neurolocal.scale.collect.collect_on_ray",
        lambda request, scale, *, say, **more: calls.append((request, scale, more)),
    )
    return calls


def test_the_command(asked, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a")
    given = [
        "--subject",
        str(MODEL),
        "--corpus",
        str(tmp_path / "c.txt"),
        "--store",
        str(tmp_path / "s.h5"),
        "--k",
        "7",
    ]
    given += ["--engine", "ray", "--workers", "3", "--shards", "12", "--address", "auto", "--checkpoint-rows", "5"]
    done = CliRunner().invoke(collect, [*given, "--preset", "neuroscope"])
    assert done.exit_code == 0, done.output
    ((request, scale, _),) = asked
    assert (request.config.k, request.config.row_length, request.fit_rows, request.every_rows) == (7, 1024, True, 5)
    assert (scale.engine, scale.workers, scale.shards, scale.address) == ("ray", 3, 12, "auto")


def test_a_shard_of_a_shard_is_refused(tmp_path: Path) -> None:
    from neurolocal.config import CollectConfig, ScaleConfig

    request = CollectRequest("m", tmp_path, tmp_path / "s.h5", CollectConfig(shard=1, shards=2))
    with pytest.raises(ScaleError, match=r"the engine makes shards itself\. Omit --shard\."):
        collect_on_ray(request, ScaleConfig(engine="ray"), say=print)


def test_a_run(asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "RUN.toml"
    text = '[run]\nsubject = "m"\ncorpus = "c"\nstore = "s.h5"\n[collect]\nk = 7\n'
    path.write_text(text + '[scale]\nengine = "ray"\nworkers = 2\n')
    found = read_run(path)
    assert (found.scale.engine, found.scale.workers, found.scale.attempts) == ("ray", 2, 3)

    def run_all(run, *, collect, say, **more) -> None:
        assert collect(run, say)

    monkeypatch.setattr("neurolocal.pipeline.run.run_all", run_all)
    assert CliRunner().invoke(run, [str(path)]).exit_code == 0
    ((request, scale, more),) = asked
    assert (request.config.k, request.store, scale.workers, more) == (7, tmp_path / "s.h5", 2, {"replace": True})
    path.write_text(text + "[scale]\nworkers = 2\n")
    with pytest.raises(ConfigError, match="workers = 2 without workers: add engine = ray, or omit it"):
        read_run(path)


def test_workers_are_given_paths_that_do_not_depend_on_their_folder(tmp_path: Path, monkeypatch) -> None:
    from neurolocal.config import CollectConfig

    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    here = absolute(CollectRequest("model", Path("c.txt"), Path("s.h5"), CollectConfig(), tokenizer="gpt2"))
    assert (here.subject, here.tokenizer) == (str(tmp_path / "model"), "gpt2")
    assert (here.corpus, here.store) == (tmp_path / "c.txt", tmp_path / "s.h5")
    assert absolute(CollectRequest("smollm2", Path("c"), Path("s"), CollectConfig())).subject == "smollm2"
