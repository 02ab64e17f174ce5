"""Memory of a worker at its peak: of its process, and of its GPU.

Invariant: the parts are those of FORMAT.md, "Memory"; rows are estimated as in `plan_size`, not taken at their most.
Cost: none.
"""

from __future__ import annotations

from neurolocal.collect.memory import ELEMENT, device_bytes, neuron_bytes
from neurolocal.collect.rows import SLACK
from neurolocal.scale.plan_constants import Constants
from neurolocal.scale.plan_job import Amount, Job
from neurolocal.scale.plan_size import references, stored_rows
from neurolocal.scale.plan_terms import size


def host_memory(job: Job, machine: Constants) -> list[Amount]:
    """Memory of a worker's process at its peak."""
    config, shape = job.config, job.shape
    sites, rows = len(config.sites or ("post",)), job.shard_rows
    token = 2 if shape.d_vocab <= 1 << 16 else 4
    each = neuron_bytes(config)
    kept = stored_rows(references(job.neurons, config), rows) * config.row_length * token
    fresh = min(max(kept, SLACK * token), rows * config.row_length * token)
    widest = max(layer.d_mlp for layer in job.read)
    found = [
        Amount("Python and its packages", machine.base, machine.source),
        Amount("neuron lists", sites * job.neurons * each, f"{sites} x {job.neurons:,} neurons x {each:,} bytes"),
        Amount("a layer in the store's form", 2 * widest * each, f"2 x {widest:,} x {each:,}"),
        Amount("token rows", kept + fresh, f"{size(kept)} referred to, {size(fresh)} new between prunings"),
    ]
    if not machine.gpu:
        weights, batch = _weights_and_batch(job)
        return [found[0], weights, *found[1:], batch]
    return found


def device_memory(job: Job) -> list[Amount]:
    """Memory of a worker's GPU at its peak."""
    weights, batch = _weights_and_batch(job)
    lists = Amount("neuron lists", device_bytes(job.widths, job.config), f"{job.neurons:,} neurons (collect/memory.py)")
    return [weights, lists, batch]


def _weights_and_batch(job: Job) -> tuple[Amount, Amount]:
    """What lies where the model is, at the deepest point of a batch."""
    shape, element = job.shape, ELEMENT[job.config.dtype]
    tokens = job.config.batch_size * job.config.row_length
    batch = tokens * element * (8 * shape.d_model + 4 * max(layer.active for layer in job.layers))
    return (
        Amount("weights", shape.parameters * element, f"{shape.parameters:,} x {element}"),
        Amount("a batch", batch, f"{tokens:,} tokens x {element} x (8 d_model + 4 d_mlp)"),
    )
