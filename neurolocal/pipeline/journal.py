"""The finished neurons of a layer that is in progress, so that a kill costs one neuron.

Invariant: the first line identifies the inputs, each further line is one neuron as JSON. A line cut short by a kill is
ignored, and a journal of other inputs is started again. One process at a time keeps one. It is removed when its table
is in the store.
Cost: one short write a neuron.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurolocal.config import sha256
from neurolocal.errors import StoreError
from neurolocal.files import append_line, locked, write_text

HOW: dict[str, Any] = {
    "doing": "keeping finished neurons in",
    "todo": "Free disk space, and run the same command again.",
    "error": StoreError,
}
"""How the message of a failed write begins and ends, and its type."""


class Journal:
    """What has been finished so far, by neuron, as plain values."""

    def __init__(self, path: Path, made_from: Mapping[str, Any]) -> None:
        """Read the file and keep the lines that are valid for these inputs.

        Raises:
            StoreError: another process is at work on this layer, or the file cannot be written.
        """
        self._held = contextlib.ExitStack()
        self._held.enter_context(locked(path, doing=HOW["doing"], error=StoreError))
        self.path, self.rows = path, dict[int, dict[str, Any]]()
        head = json.dumps({"made_from": sha256(dict(made_from))})
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        whole = []
        if lines and lines[0] == head:
            for line in lines[1:]:
                try:
                    row = json.loads(line)
                    self.rows[int(row["neuron"])] = row
                except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
                    break
                whole.append(line)
        write_text(path, "\n".join([head, *whole]) + "\n", **HOW)

    def add(self, neuron: int, row: Mapping[str, Any]) -> None:
        """Append one neuron.

        Raises:
            StoreError: the file cannot be written.
        """
        self.rows[neuron] = {**row, "neuron": neuron}
        append_line(self.path, json.dumps(self.rows[neuron]), **HOW)

    def remove(self) -> None:
        """Delete the file: the table that it was for has been written."""
        self.path.unlink(missing_ok=True)
        self._held.close()


def remove_journal(path: Path) -> None:
    """Remove the journal of a table that is in the store: a kill came between the two. One in use is left."""
    if path.is_file():
        with contextlib.suppress(StoreError), locked(path, doing=HOW["doing"], error=StoreError):
            path.unlink(missing_ok=True)
