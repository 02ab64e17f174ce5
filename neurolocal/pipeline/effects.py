"""Direct logit effects of a finished collection, added to its store.

Invariant: the collection is whole on the disk before the first effect is computed; a kill loses the layers that were
not yet written, and the same command computes them. Of several shards, only the first has effects.
Cost: that of `subject.logits`, and a copy of the store for each write: one at the end, and one every EVERY seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from neurolocal.errors import SubjectError
from neurolocal.pipeline.manifest import Collection
from neurolocal.progress import Bar
from neurolocal.records import LogitEffects, Place
from neurolocal.stage import Say

EVERY = 300.0
"""Seconds between writes, which a kill may cost."""


def add_effects(job: Collection, *, say: Say, stop: Callable[[], bool], bar: bool, every: float = EVERY) -> bool:
    """Compute the effects that a complete store should have and has not; False where `stop` ended it before all were.

    Args:
        job: subject, store and `resolved` config.
        say: receives a line for the user at a time.
        stop: called after every layer; True writes what there is and stops.
        bar: whether to show a progress bar.
        every: seconds between writes.

    Raises:
        StoreError: the store cannot be written; it is unchanged.
    """
    from neurolocal.store import Store, write_effects
    from neurolocal.subject.logits import LogitLens

    missing = _missing(job)
    if not missing:
        return True
    config, found, last, stopped = job.config, dict[Place, LogitEffects](), time.monotonic(), False
    total = sum(n for _, n in missing)
    with Store(job.store) as store:
        manifest = store.manifest
    with Bar(total=total, desc="logit effects", unit="neuron", unit_scale=True, disable=not bar) as shown:
        try:
            lens = LogitLens(job.subject, config.logits)
            for (site, layer), _ in missing:
                found[site, layer] = lens.effects(layer, site=site, neurons=config.neurons, progress=shown.update)
                if stopped := stop():
                    break
                if time.monotonic() - last >= every:
                    write_effects(job.store, found, manifest=manifest)
                    found, last = {}, time.monotonic()
        except SubjectError as error:
            shown.leave = False
            say(f"collect: no direct logit effects: {error}")
    if found:
        write_effects(job.store, found, manifest=manifest)
    return not stopped or not _missing(job)


def _missing(job: Collection) -> list[tuple[Place, int]]:
    """The layers without effects that should have them, each with its number of neurons."""
    from neurolocal.store import Store

    config = job.config
    found: list[tuple[Place, int]] = []
    if config.logits == 0 or config.shard:
        return []
    for site in config.sites or ():
        if site in ("post", "mid"):  # elsewhere an activation is not what the neuron writes
            with Store(job.store, site=site) as store:
                missing = [layer for layer in store.layers if store.logit_effects(layer) is None]
                found.extend(((site, layer), len(store.neurons(layer))) for layer in missing)
    return found
