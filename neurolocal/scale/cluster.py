"""Workers as Ray actors; the only place that imports Ray.

A cluster of one's own speaks over the loopback, sends no usage statistics, has no dashboard, and ends with the run.
Invariant: Ray restarts and repeats nothing by itself; the driver decides what is tried again, and by whom.
Cost: starting a cluster takes some ten processes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from neurolocal.config import ScaleConfig
from neurolocal.errors import ConfigError, NeurolocalError, first_line
from neurolocal.machine import cores
from neurolocal.scale.pool import Answer

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a worker without a GPU sees none
}
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's name for it: its processes speak over 127.0.0.1, on any system."""

OBJECTS = 80 * 2**20
"""Bytes of shared memory of a cluster of one's own: shards travel as files, so Ray's least is enough."""

ASK = 1.0
"""Seconds between two questions to all workers how far they are."""

STARTS = 4
"""Times that a cluster of one's own is started, where Ray says that it took too long."""


class ScaleError(NeurolocalError):
    """A cluster that cannot be started, joined or used."""


@dataclass(frozen=True)
class Resources:
    """What each worker has."""

    workers: int
    gpus: int
    cpus: int

    def __str__(self) -> str:
        """For the user."""
        return f"{self.workers} workers of {f'{self.gpus} GPUs' if self.gpus else f'{self.cpus} cores'}"

    @property
    def device(self) -> str | None:
        """The torch device of a worker where the user names none; None is its only GPU."""
        return "auto" if self.gpus > 1 else None if self.gpus else "cpu"


def resources(config: ScaleConfig, there: Mapping[str, float]) -> Resources:
    """How many workers there are and what each has, from what the cluster has.

    Raises:
        ConfigError: a worker is to have more than the whole cluster has.
    """
    gpus, cpus = int(there.get("GPU", 0)), max(1, int(there.get("CPU", 1)))
    own = config.gpus_per_worker if config.gpus_per_worker is not None else int(gpus > 0)
    fits = gpus // own if own else cpus // config.cpus_per_worker if config.cpus_per_worker is not None else 1
    workers = config.workers or max(1, fits)
    threads = config.cpus_per_worker or max(1, cpus // workers)
    if own > gpus or threads > cpus:
        raise ConfigError(
            f"a worker of {own} GPUs and {threads} cores: the cluster has {gpus} GPUs and {cpus} cores. "
            "Choose gpus_per_worker and cpus_per_worker from these."
        )
    return Resources(workers, own, threads)


@contextmanager
def ray_cluster(
    config: ScaleConfig, *, doing: str = "collecting", otherwise: str = "collect shards with --shard I/N and merge them"
) -> Generator[Any, None, None]:
    """Ray, connected to the cluster of the settings; a cluster of one's own ends with the block.

    Args:
        config: the settings.
        doing: how the message begins where Ray is not installed.
        otherwise: what the user can do without Ray.

    Raises:
        ScaleError: Ray is not installed, or the cluster cannot be started or joined.
    """
    alone = config.address is None
    os.environ.update(ENVIRONMENT | (ALONE if alone else {}))
    try:
        import ray
    except ImportError as error:
        raise ScaleError(
            f"{doing} with --engine ray: the package ray is not installed. Run `pip install 'neurolocal[ray]'`, or "
            f"{otherwise}."
        ) from error
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    folder = tempfile.mkdtemp(prefix="neurolocal-ray-") if alone else None
    how: dict[str, Any] = {"address": config.address}
    if alone:
        how = {"num_cpus": max(cores(), (config.workers or 1) * (config.cpus_per_worker or 1)), "_temp_dir": folder,
               "include_dashboard": False, "object_store_memory": OBJECTS, "_node_ip_address": "127.0.0.1"}  # fmt: skip
    try:
        try:
            _init(ray, how, times=STARTS if alone else 1)
        except Exception as error:  # Ray raises a dozen types
            where = "starting a Ray cluster" if alone else f"joining the Ray cluster {config.address}"
            raise ScaleError(
                f"{where}: {first_line(error)}. {'Is there memory?' if alone else 'Check the address and the token.'}"
            ) from error
        yield ray
    finally:
        with contextlib.suppress(Exception):
            ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _init(ray: Any, how: dict[str, Any], *, times: int) -> None:
    """Connect to a cluster, or start one; on a busy machine it may take longer than Ray waits (30 s)."""
    for left in reversed(range(times)):
        try:
            ray.init(log_to_driver=False, logging_level=logging.CRITICAL, configure_logging=False, **how)
            return
        except Exception as error:
            if not left or "timed out" not in str(error):
                raise
            with contextlib.suppress(Exception):
                ray.shutdown()


class RayPool:
    """Workers, each an actor that does one call on activations and one on text at a time, and says how far it is."""

    def __init__(self, ray: Any, kind: type, request: Any, own: Resources, *, at_once: int) -> None:
        """No worker is started yet.

        Args:
            ray: the cluster.
            kind: the class of a worker, made as `kind(request, threads=...)`.
            request: what the workers work on.
            own: what each of them has.
            at_once: calls that a worker answers at the same time: 1, or more if it is asked while it works.
        """
        self._ray, self._request, self._own = ray, request, own
        self._actor = ray.remote(kind).options(
            num_cpus=own.cpus, num_gpus=own.gpus, max_restarts=0, max_task_retries=0, max_concurrency=at_once
        )
        self._actors: dict[int, Any] = {}
        self._calls: dict[Any, int] = {}
        self._reads: set[Any] = set()
        self._asked: dict[Any, int] = {}
        self._batches: dict[int, int] = {}
        self._next_ask = 0.0

    def start(self, worker: int) -> None:
        """Start a worker, in place of an earlier one of that number; the answer to its `load` says that it is ready."""
        self.drop(worker)
        self._actors[worker] = self._actor.remote(self._request, threads=None if self._own.gpus else self._own.cpus)
        self.call(worker, "load")

    def drop(self, worker: int) -> None:
        """End a worker at once."""
        actor = self._actors.pop(worker, None)
        self._calls = {ref: other for ref, other in self._calls.items() if other != worker}
        self._reads &= self._calls.keys()
        self._asked = {ref: other for ref, other in self._asked.items() if other != worker}
        self._batches.pop(worker, None)
        if actor is not None:
            with contextlib.suppress(Exception):
                self._ray.kill(actor, no_restart=True)

    def call(self, worker: int, method: str, *arguments: Any, **named: Any) -> None:
        """Let a worker do something; `wait` gives the answer."""
        self._calls[getattr(self._actors[worker], method).remote(*arguments, **named)] = worker
        self._batches[worker] = 0

    def read(self, worker: int, method: str, *arguments: Any) -> None:
        """Let a worker do something with text, beside what it does; `wait` gives the answer."""
        ref = getattr(self._actors[worker], method).remote(*arguments)
        self._calls[ref] = worker
        self._reads.add(ref)

    def wait(self, seconds: float) -> list[Answer]:
        """The answers that have come; waits for the first so long."""
        if not self._calls:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        return [self._answer(ref, self._calls.pop(ref)) for ref in ready if ref in self._calls]

    def _answer(self, ref: Any, worker: int) -> Answer:
        from ray.exceptions import RayTaskError

        reading = ref in self._reads
        self._reads.discard(ref)
        try:
            return Answer(worker, self._ray.get(ref), reading=reading)
        except RayTaskError as error:
            cause = error.cause if isinstance(error.cause, BaseException) else error
            return Answer(worker, None, f"{type(cause).__name__}: {first_line(cause)}", reading=reading)
        except Exception as error:  # the actor, its node, or what it returned is lost
            self.drop(worker)
            return Answer(worker, None, f"its worker died ({type(error).__name__})", died=True, reading=reading)

    def batches(self) -> dict[int, int]:
        """Batches done by each worker in its present call, as far as they have answered; asks again after `ASK`."""
        if self._asked:
            ready, _ = self._ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)
            for ref in ready:
                worker = self._asked.pop(ref)
                with contextlib.suppress(Exception):
                    self._batches[worker] = self._ray.get(ref)
        if time.monotonic() < self._next_ask:
            return dict(self._batches)
        self._next_ask = time.monotonic() + ASK
        busy = {worker for ref, worker in self._calls.items() if ref not in self._reads}
        for worker in busy - set(self._asked.values()):
            self._asked[self._actors[worker].batches.remote()] = worker
        return dict(self._batches)

    def stop(self, worker: int) -> None:
        """Let a worker end what it does after its batch."""
        with contextlib.suppress(Exception):
            self._actors[worker].stop.remote()
