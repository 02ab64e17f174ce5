"""Is a store whole, and does the subject still give its activations? The checks of `store.check` and `collect.replay`.

Cost: see there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neurolocal.collect.replay import ReplayReport, replay
from neurolocal.pipeline.workspace import Workspace
from neurolocal.render.figures import strict
from neurolocal.store import Report, check

if TYPE_CHECKING:
    from neurolocal.stage import Say

SHOWN = 20
"""Faults and examples that are printed one by one."""


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
    report = check(path)
    say(f"check: {', '.join(f'{n:,} {what}' for what, n in report.looked_at.items())}")
    for note in report.notes:
        say(f"check: {note}")
    _list([str(fault) for fault in report.faults], "faults", say)
    say(f"check: {path} {'is whole' if not report.faults else f'has {len(report.faults):,} faults'}")
    if n is None or report.faults:
        return CheckResult(report, None)
    workspace = Workspace(path, subject=subject, device=device, say=say)
    again = replay(workspace.store, workspace.loaded_subject, n=n, seed=seed)
    _list([str(one) for one in again.off], "examples are off", say)
    say(
        f"replay: {again.examples:,} examples in {again.rows:,} rows; largest difference {again.largest:.2g} of a "
        f"neuron's largest activation (allowed {again.tolerance:g}), correlation {again.correlation:.6f}; "
        f"{len(again.off):,} off"
    )
    return CheckResult(report, again)


def _list(lines: list[str], what: str, say: Say) -> None:
    for line in lines[:SHOWN]:
        say(f"  {line}")
    if len(lines) > SHOWN:
        say(f"  … {len(lines):,} {what} in all")
