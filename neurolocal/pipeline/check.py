"""Is a store whole, and does the subject still give its activations? The checks of `store.check` and `collect.replay`.

Cost: see there. With a replay, and where there are CORES, the store is checked in another process while this one
imports torch and transformers and loads the subject; each takes several seconds. `collect/README.md` has the figures.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from neurolocal.errors import NeurolocalError
from neurolocal.machine import cores, end_with_parent, without_interrupts
from neurolocal.pipeline.workspace import Workspace
from neurolocal.progress import waiting
from neurolocal.render.figures import strict
from neurolocal.store import Report, check

if TYPE_CHECKING:
    from neurolocal.collect.replay import ReplayReport
    from neurolocal.stage import Say

SHOWN = 20
"""Faults and examples that are printed one by one."""

CORES = 4
"""Cores from which check and loading run side by side; on two, which torch and the check share, that takes longer."""


@dataclass(frozen=True)
class CheckResult:
    """The result of checking a store."""

    report: Report
    replayed: ReplayReport | None
    """None where no example was computed again."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.report.faults and (self.replayed is None or not self.replayed.off)

    def json(self) -> str:
        """All of it as one JSON object; unknown figures are null."""
        found = {"ok": self.ok, **asdict(self.report)}
        if self.replayed is not None:
            again = asdict(self.replayed)
            found["replay"] = again | {"off": [one._asdict() for one in self.replayed.off]}
        return json.dumps(strict(found))


def check_store(
    path: Path, *, n: int | None, subject: str | None, device: str | None, seed: int, say: Say
) -> CheckResult:
    """Check a store, and compute n random examples of it again (None: no examples).

    Args:
        path: the store.
        n: examples to compute again.
        subject: model folder, .gguf file or name; None is the one that the store names.
        device: torch device.
        seed: of the choice of examples.
        say: receives what was checked, every fault, and the result of the replay, a line at a time.

    Raises:
        StoreError: there is no store to check, or the subject is not the store's.
        SubjectError: the subject cannot be loaded.
    """
    workspace = Workspace(path, subject=subject, device=device, say=say)
    report, not_loaded = (check(path), None) if n is None or cores() < CORES else _check_and_load(workspace)
    say(f"check: {', '.join(f'{n:,} {what}' for what, n in report.looked_at.items())}")
    for note in report.notes:
        say(f"check: {note}")
    _list([str(fault) for fault in report.faults], "faults", say)
    say(f"check: {path} {'is whole' if not report.faults else f'has {len(report.faults):,} faults'}")
    if n is None or report.faults:
        return CheckResult(report, None)
    if not_loaded is not None:
        raise not_loaded
    from neurolocal.collect.replay import replay

    again = replay(workspace.store, workspace.loaded_subject, n=n, seed=seed, say=say)
    _list([str(one) for one in again.off], "examples are off", say)
    say(
        f"replay: {again.examples:,} examples in {again.rows:,} rows; largest difference {again.largest:.2g} of a "
        f"neuron's largest activation (allowed {again.tolerance:g}), correlation {again.correlation:.6f}; "
        f"{len(again.off):,} off"
    )
    return CheckResult(report, again)


def _check_and_load(workspace: Workspace) -> tuple[Report, NeurolocalError | None]:
    """The report, and what kept the subject from being loaded meanwhile: a store with faults needs none.

    Raises:
        StoreError: there is no store to check.
    """
    not_loaded = None
    workspace.store.close()  # what is no store is refused at once
    workspace.reload()
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=end_with_parent) as other:
        with without_interrupts():
            checking = other.submit(check, workspace.path, progress=False)
        try:
            _ = workspace.loaded_subject
        except NeurolocalError as error:
            not_loaded = error
        with waiting(f"checking {workspace.path}", bar=workspace.bar):
            try:
                return checking.result(), not_loaded
            except BrokenProcessPool:  # it was killed, perhaps as memory is short
                return check(workspace.path), not_loaded


def _list(lines: list[str], what: str, say: Say) -> None:
    for line in lines[:SHOWN]:
        say(f"  {line}")
    if len(lines) > SHOWN:
        say(f"  … {len(lines):,} {what} in all")
