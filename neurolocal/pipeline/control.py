"""The untrained control of a run: the same collection and stages on weights that were never trained, in another store.

Invariant: what differs is the weights alone; the counts of its verdicts are kept beside the verdicts that they are held
against, and go when those are decided anew. Cost: the run's own up to the verdicts, of the layers that it analyses.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

from neurolocal.pipeline.workspace import FACTS, Workspace
from neurolocal.records import VERDICTS, Side

if TYPE_CHECKING:
    from neurolocal.pipeline.run import Run

UNTRAINED = "untrained"
"""The fact of a table of verdicts that holds the control's counts."""


def untrained_run(run: Run) -> Run:
    """The control of a run, whose store stands beside the run's. It collects only the layers that are analysed."""
    layers = run.layers or run.collect.layers
    return dataclasses.replace(
        run,
        store=run.store.with_name(f"{run.store.stem}-untrained{run.store.suffix}"),
        untrained=run.control.seed,
        llm=None,
        configs={**run.configs, "collect": dataclasses.replace(run.collect, layers=layers)},
    )


def write_counts(workspace: Workspace, control: Workspace, *, seed: int) -> None:
    """Write the control's verdicts, as counts, beside those of the run."""
    from neurolocal.store import add_evidence

    changed = list[tuple[str, int, Side, Any, dict[str, Any]]]()
    store = workspace.store
    for layer, side in workspace.places():
        table, made = store.evidence("verdict", layer, side), store.inputs("verdict", layer, side)
        drawn = control.store.evidence("verdict", layer, side)
        if table is None or made is None or drawn is None:
            continue
        tally = Counter[str](drawn.verdict)
        facts = {
            **made.get(FACTS, {}),
            UNTRAINED: {"seed": seed, "counts": {name: tally[name] for name in VERDICTS if tally[name]}},
        }
        if facts != made.get(FACTS):
            changed.append(("verdict", layer, side, table, made | {FACTS: facts}))
    if changed:
        site, manifest = store.site, store.manifest
        workspace.reload()
        add_evidence(workspace.path, changed, site=site, manifest=manifest, say=workspace.say)
