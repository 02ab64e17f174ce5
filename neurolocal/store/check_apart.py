"""`check` in a process of its own, so that the caller can load a model meanwhile.

Invariant: the report is that of `check`; where the process ends otherwise, `check` runs here.
Cost: starting Python and importing numpy and h5py (half a second), beside the check.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from dataclasses import asdict
from pathlib import Path
from typing import Any

from neurolocal.store.check import Report, check
from neurolocal.store.faults import Fault

PROGRAM = "from neurolocal.store.check_apart import main; main()"


class CheckApart:
    """A check that has begun; it ends with this object."""

    def __init__(self, path: Path) -> None:
        """Begin."""
        self._path = path
        root = str(Path(__file__).parents[2])
        own = os.environ.get("PYTHONPATH")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, str(path)],  # -P: modules in the working folder are not ours
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": root if own is None else os.pathsep.join([root, own])},
        )  # fmt: skip
        weakref.finalize(self, _end, self._process)

    def report(self) -> Report:
        """Wait for the report.

        Raises:
            StoreError: as `check` says.
        """
        written, _ = self._process.communicate()
        try:
            if self._process.returncode == 0:
                return read_report(json.loads(written))
        except (ValueError, KeyError, TypeError):  # it wrote something else
            pass
        return check(self._path)


def read_report(found: Any) -> Report:
    """A report from its JSON."""
    return Report(found["looked_at"], tuple(Fault(**fault) for fault in found["faults"]), tuple(found["notes"]))


def main() -> None:
    """The other side: write the report as JSON."""
    json.dump(asdict(check(Path(sys.argv[1]), progress=False)), sys.stdout)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process, if it has not ended, and take note of it."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
