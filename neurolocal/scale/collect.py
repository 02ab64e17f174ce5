"""A collection by the workers of a Ray cluster: from a request, or from a RUN.toml.

Invariant: one driver at a time works on a store. Cost: that of the driver, in this process, and of the workers.
"""

from __future__ import annotations

from dataclasses import replace as replace_fields
from typing import TYPE_CHECKING

from neurolocal.config import ScaleConfig
from neurolocal.errors import StoreError
from neurolocal.files import locked
from neurolocal.scale.cluster import RayPool, ScaleError, ray_cluster, resources
from neurolocal.scale.driver import Driver, Result, shards_address
from neurolocal.scale.worker import CollectRequest, Worker, absolute
from neurolocal.stage import Say
from neurolocal.storage.uploads import require_upload

if TYPE_CHECKING:
    from neurolocal.pipeline.run import Run


def collect_on_ray(
    request: CollectRequest, config: ScaleConfig, *, say: Say, replace: bool = False, bar: bool = True
) -> Result | None:
    """Collect with the workers of a Ray cluster; None where the store is complete already.

    Args:
        request: what to collect.
        config: the cluster and its workers.
        say: receives a line for the user at a time.
        replace: whether a store or shards of something else are collected anew (True) or refused.
        bar: whether to show a progress bar.

    Raises:
        ScaleError: Ray is not installed, or there is no cluster or worker.
        NeurolocalError: as `collect_store`.
    """
    if request.config.shards > 1:
        raise ScaleError("collecting with --engine ray: the engine makes shards itself. Omit --shard.")
    request = absolute(request)
    request.store.parent.mkdir(parents=True, exist_ok=True)
    with locked(request.store, doing="collecting into", error=StoreError), ray_cluster(config) as ray:
        own = resources(config, ray.cluster_resources())
        request = replace_fields(request, device=request.device or own.device)
        say(f"collect: {own} on Ray {ray.__version__}")
        if (at := shards_address(config)) is not None:
            require_upload(at, request.store)
        pool = RayPool(ray, Worker, request, own, at_once=5)
        return Driver(pool, request, config, workers=own.workers, say=say, bar=bar).run(replace=replace)


def collect_run(run: Run, say: Say) -> bool:
    """Collect what a RUN.toml says, by its table [scale]; whether the store is complete."""
    request = CollectRequest(
        run.subject, run.corpus, run.store, run.collect, tokenizer=run.tokenizer, device=run.device,
        untrained=run.untrained,
    )  # fmt: skip
    outcome = collect_on_ray(request, run.scale, say=say, replace=True)
    return outcome is None or outcome.complete
