"""The files of a site written by the workers of a Ray cluster.

Invariant: a worker writes only files of its own parts, into the folder that all share; which files belong to the site
is the driver's to say. A part that fails `attempts` times leaves its files out, and no other one.
Cost: each worker opens the store, and reads its index for the related neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from neurolocal.config import ScaleConfig
from neurolocal.errors import NeurolocalError
from neurolocal.machine import use_cores
from neurolocal.scale.cluster import RayPool, ray_cluster, resources
from neurolocal.scale.deal import Dealer, Done
from neurolocal.scale.pool import Failed
from neurolocal.stage import Failure, Say

if TYPE_CHECKING:
    from neurolocal.site.build import Deal, PageWriter


class Files(NamedTuple):
    """Some files of a site."""

    names: tuple[str, ...]
    """Their names, relative to the site's folder."""

    def __str__(self) -> str:
        """For people."""
        return f"{self.names[0]} to {self.names[-1]}"


class SiteWorker:
    """Writes parts of one site, one at a time."""

    def __init__(self, make: Callable[[], PageWriter], *, threads: int | None) -> None:
        """Nothing is opened yet."""
        self._make, self._threads = make, threads
        self._writer: PageWriter | None = None

    def load(self) -> Failed | None:
        """Open the store."""
        if self._threads is not None:
            use_cores(self._threads)
        try:
            self._writer = self._make()
        except NeurolocalError as error:
            return Failed(str(error), True)
        return None

    def do(self, task: Files) -> Done | Failed:
        """Write some files; a folder that cannot be written to ends the run."""
        assert self._writer is not None
        try:
            return Done(self._writer.write(task.names), [])
        except NeurolocalError as error:
            return Failed(str(error), True)


def pages_on_ray(config: ScaleConfig, *, say: Say) -> Deal:
    """What deals the files of a site to the workers of a Ray cluster."""

    def deal(
        make: Callable[[], PageWriter], parts: Iterator[tuple[str, ...]]
    ) -> Iterator[tuple[tuple[str, ...], int | None]]:
        with ray_cluster(config, doing="site", otherwise="omit --engine") as ray:
            own = resources(config, ray.cluster_resources())
            say(f"site: {own} on Ray {ray.__version__}")
            pool = RayPool(ray, SiteWorker, make, own, at_once=1)
            dealer = Dealer(pool, config, workers=own.workers, name="site", say=say)
            for task, written in dealer.answers(map(Files, parts)):
                yield task.names, None if isinstance(written, Failure) else written

    return deal
