"""A plan for a person, and for a program.

Cost: none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from neurolocal.render.visible import visible
from neurolocal.scale.plan_constants import Constants
from neurolocal.scale.plan_cost import Plan
from neurolocal.scale.plan_job import Amount, Job
from neurolocal.scale.plan_terms import size


def facts(job: Job, machine: Constants, plan: Plan) -> dict[str, Any]:
    """The plan as plain values: seconds, bytes, formulas."""
    return {
        "subject": {
            "name": job.shape.name, "architecture": job.shape.architecture, "parameters": job.shape.parameters,
            "layers": len(job.shape.layers), "neurons": job.neurons,
        },
        "corpus": {"rows": job.rows, "tokens": job.rows * job.config.row_length},
        "config": dataclasses.asdict(job.config),
        "workers": job.workers,
        "shards": job.n_shards,
        "machine": {"device": machine.device, "source": machine.source, "clock": machine.clock},
        "seconds": plan.seconds,
        "collect_seconds": plan.collect_seconds,
        "device_hours": plan.seconds * job.workers / 3600,
        "host_bytes": sum(one.bytes for one in plan.host),
        "device_bytes": sum(one.bytes for one in plan.device),
        "store_bytes": plan.store.total,
        "disk_bytes": sum(one.bytes for one in plan.disk),
        "traffic_bytes": sum(one.bytes for one in plan.traffic),
        "steps": [dataclasses.asdict(one) for one in plan.steps],
        **{name: [dataclasses.asdict(one) for one in getattr(plan, name)]
           for name in ("host", "device", "last_merge", "disk", "traffic")},
        "notes": list(plan.notes),
    }  # fmt: skip


def as_text(job: Job, machine: Constants, plan: Plan, *, explain: bool) -> str:
    """The plan in lines; with `explain` each figure's formula under it."""
    shape, tokens = job.shape, job.rows * job.config.row_length
    head = [
        f"{shape.name} ({shape.architecture}): {shape.parameters:,} weights, {job.neurons:,} neurons in "
        f"{len(job.read)} layers",
        f"{job.rows:,} rows of {job.config.row_length:,} = {tokens:,} tokens, {job.config.dtype}, batches of "
        f"{job.config.batch_size} rows",
        f"{job.workers} x {machine.device} ({machine.source})",
        "",
        f"{'time':<34}{duration(plan.seconds):>14}"
        + (f"   ({plan.seconds * job.workers / 3600:,.1f} device hours)" if job.workers > 1 or machine.gpu else ""),
    ]  # fmt: skip
    lines = [*map(visible, head)]
    for step in plan.steps:
        lines.append(f"  {step.name:<32}{duration(step.seconds):>14}")
        lines += _why(step.formula, explain)
    for title, amounts in (
        ("memory of a worker's process", plan.host),
        ("memory of its device", plan.device),
        ("memory of the last merge", plan.last_merge),
        ("disk", plan.disk),
        ("moved", plan.traffic),
    ):
        lines += _amounts(title, amounts, explain)
    lines += ["", *(f"note: {visible(note)}" for note in plan.notes)] if plan.notes else []
    return "\n".join(lines)


def _amounts(title: str, amounts: Sequence[Amount], explain: bool) -> Iterable[str]:
    if not amounts:
        return
    yield f"{title:<34}{size(sum(one.bytes for one in amounts)):>14}"
    for one in amounts:
        yield f"  {one.name:<32}{size(one.bytes):>14}"
        yield from _why(one.formula, explain)


def _why(formula: str, explain: bool) -> list[str]:
    return [f"      = {visible(formula)}"] if explain else []


def duration(seconds: float | int) -> str:
    """`3.2 s`, `14 min`, `5.1 h`, `12 days`."""
    if seconds < 120:
        return f"{seconds:,.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:,.1f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} days"
