"""A stage's parts done by the workers of a Ray cluster: perturbation, summary and score over neurons.

A worker opens the store for reading alone, holds the subject or the LLM, and gives the evidence of its parts back; the
driver joins it and is the only one that writes.
Invariant: the evidence of a part does not depend on the parts that its worker did before, so the tables are those of
one process, bit for bit. A part that fails `attempts` times leaves its layer without a table, and no other one.
Cost: each worker loads subject, vectors and LLM, and what all parts of a layer share.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from neurolocal.config import ScaleConfig
from neurolocal.errors import NeurolocalError
from neurolocal.machine import use_cores
from neurolocal.scale.cluster import RayPool, Resources, ray_cluster, resources
from neurolocal.scale.deal import Dealer, Done
from neurolocal.scale.pool import Failed
from neurolocal.scale.worker import there
from neurolocal.stage import Engine, Evidence, Failure, Parts, Stage, Task, silent

if TYPE_CHECKING:
    from neurolocal.pipeline.workspace import Workspace


@dataclass(frozen=True)
class StageRequest:
    """What the workers work on; every path is absolute and on storage that all of them share."""

    stage: str
    """Its name."""
    workspace: Workspace
    """The store, and what goes with it."""
    config: Any
    """The stage's settings."""


class StageWorker:
    """Does parts of one stage, one at a time."""

    def __init__(self, request: StageRequest, *, threads: int | None) -> None:
        """Nothing is opened yet; `threads` are those of torch and of the LLM on a CPU."""
        self._request, self._threads = request, threads
        self._said: list[str] = []
        self._workspace = dataclasses.replace(request.workspace, say=self._said.append)
        self._held = contextlib.ExitStack()
        self._parts: Parts | None = None

    def load(self) -> Failed | None:
        """Open the store; what a part needs is loaded at the first one."""
        from neurolocal.pipeline.stages import stage

        if self._threads is not None:
            import torch

            torch.set_num_threads(self._threads)
            use_cores(self._threads)
        request = self._request
        try:
            self._workspace.store  # noqa: B018
            work = self._held.enter_context(stage(request.stage).work(self._workspace, request.config))
        except NeurolocalError as error:
            return Failed(str(error), True)
        assert isinstance(work, Parts)
        self._parts = work
        return None

    def do(self, task: Task) -> Done | Failed:
        """The evidence of a part; an error that a user can mend ends the run, as in one process.

        After any other error the store is opened anew: on a network disk, a file that the driver has replaced is gone.
        """
        assert self._parts is not None
        self._said.clear()
        try:
            return Done(self._parts.part(*task), list(self._said))
        except NeurolocalError as error:
            return Failed(str(error), True)
        except Exception:
            self._workspace.reload()
            raise


def stages_on_ray(config: ScaleConfig) -> Engine:
    """The engine that deals the parts of a stage to the workers of a Ray cluster."""

    def engine(
        stage: Stage, workspace: Workspace, settings: Any, parts: Parts, tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Evidence | Failure]]:
        left = iter(tasks)
        first = next(left, None)
        if first is None:  # no cluster for nothing
            return
        with ray_cluster(config, doing=stage.name, otherwise="omit --engine") as ray:
            own = resources(config, ray.cluster_resources())
            workspace.say(f"{stage.name}: {own} on Ray {ray.__version__}")
            request = StageRequest(stage.name, for_workers(workspace, own), settings)
            pool = RayPool(ray, StageWorker, request, own, at_once=1)
            dealer = Dealer(pool, config, workers=own.workers, name=stage.name, say=workspace.say)
            yield from dealer.answers(chain([first], left))

    return engine


def for_workers(workspace: Workspace, own: Resources) -> Workspace:
    """The workspace with paths that do not depend on the folder that a worker runs in, and with nothing opened."""
    made_from = workspace.store.manifest
    subject, tokenizer = (
        given or (named and workspace.seen_from_here(named))
        for given, named in (
            (workspace.subject, made_from["subject"].get("path")),
            (workspace.tokenizer, made_from["tokenizer"].get("path")),
        )
    )
    return dataclasses.replace(
        workspace,
        path=workspace.path.absolute(),
        subject=there(subject),
        tokenizer=there(tokenizer),
        vectors=there(workspace.vectors) or workspace.vectors,
        llm=there(workspace.llm),
        device=workspace.device or own.device,
        say=silent,
        bar=False,
    )
