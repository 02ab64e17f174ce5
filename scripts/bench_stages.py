"""What sharing a stage among workers costs: layers by independent processes, and by the workers of a Ray cluster.

    python scripts/bench_stages.py stages --store smol.h5 --layers 14,24 --screen 20    processor time of perturbation
    python scripts/bench_stages.py tasks --tasks 500                                    of tasks that do nothing

`stages` runs `perturbation` on copies of a store: one process a layer, then the workers on all layers. Each process and
all that it starts are sampled twice a second; the processor time of each is the last that was seen. Efficiency is the
processor time of the independent processes over that of the driver, Ray's own processes and the workers together.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

COMMAND = [sys.executable, "-c", "from neurolocal.cli.main import main; main()", "perturbation"]


class Nothing(NamedTuple):
    """A task without work."""

    n: int


class Idle:
    """A worker that does nothing."""

    def __init__(self, request: None, *, threads: int | None) -> None:
        pass

    def load(self) -> None:
        """Ready at once."""

    def do(self, task: Nothing) -> object:
        """Nothing."""
        from neurolocal.scale.deal import Done

        return Done(task.n, [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["stages", "tasks"])
    parser.add_argument("--store", type=Path)
    parser.add_argument("--layers", default="14,24", help="one for each worker")
    parser.add_argument("--screen", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--folder", help="where the copies are written")
    chosen = parser.parse_args()
    print(f"load average at the beginning: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if chosen.what == "tasks":
        tasks(chosen.tasks)
    else:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            stages(Path(folder), chosen)
    print(f"load average at the end: {os.getloadavg()[0]:.1f}")


def tasks(n: int) -> None:
    """Seconds and the driver's processor time of tasks without work, on two workers."""
    from neurolocal.config import ScaleConfig
    from neurolocal.scale.cluster import RayPool, ray_cluster, resources
    from neurolocal.scale.deal import Dealer

    config = ScaleConfig(engine="ray", workers=2)
    with ray_cluster(config) as ray:
        pool = RayPool(ray, Idle, None, resources(config, ray.cluster_resources()), at_once=1)
        answers = Dealer(pool, config, workers=2, name="idle", say=print).answers(map(Nothing, range(n + 2)))
        for _ in range(2):  # both workers are there, or one of them
            next(answers)
        began, spent = time.monotonic(), time.process_time()
        assert len(list(answers)) == n
        seconds, processor = time.monotonic() - began, time.process_time() - spent
    print(f"{n} tasks: {1000 * seconds / n:.1f} ms each; processor time of the driver {1000 * processor / n:.1f} ms")


def stages(folder: Path, chosen: argparse.Namespace) -> None:
    """Processor time of both ways."""
    layers = chosen.layers.split(",")
    common = ["--screen", str(chosen.screen), "--side", "largest", "--device", "cpu"]
    alone = []
    for layer in layers:
        shutil.copyfile(chosen.store, folder / f"{layer}.h5")
        alone.append([*COMMAND, str(folder / f"{layer}.h5"), "--layers", layer, *common])
    shutil.copyfile(chosen.store, folder / "all.h5")
    ray = ["--engine", "ray", "--workers", str(len(layers)), "--cpus-per-worker", "1"]
    seconds, processor = watched(alone)
    print(f"{len(layers)} independent processes: {seconds:.0f} s, processor time {processor:.1f} s", flush=True)
    shared_seconds, shared = watched([[*COMMAND, str(folder / "all.h5"), "--layers", chosen.layers, *common, *ray]])
    print(
        f"{len(layers)} workers: {shared_seconds:.0f} s, processor time {shared:.1f} s; "
        f"efficiency {processor / shared:.2f}"
    )


def watched(commands: list[list[str]]) -> tuple[float, float]:
    """Run commands beside each other: seconds, and the processor time of all their processes."""
    began, spent = time.monotonic(), dict[tuple[int, float], float]()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    running = [psutil.Popen(one, stderr=subprocess.DEVNULL, env=environment) for one in commands]
    while any(process.poll() is None for process in running):
        for root in running:
            with contextlib.suppress(psutil.Error):
                for process in (root, *root.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        times = process.cpu_times()
                        spent[process.pid, process.create_time()] = times.user + times.system
        time.sleep(0.5)
    assert all(process.returncode == 0 for process in running)
    return time.monotonic() - began, sum(spent.values())


if __name__ == "__main__":
    main()
