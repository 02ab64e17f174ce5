"""The finished neurons of a layer that is in progress, so that a kill costs one neuron.

Invariant: the first line identifies the inputs, each further line is one neuron as JSON. A line cut short by a kill is
ignored, and a journal of other inputs is started again. One process at a time keeps one.
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
from neurolocal.files import locked


class Journal:
    """What has been finished so far, by neuron, as plain values."""

    def __init__(self, path: Path, made_from: Mapping[str, Any]) -> None:
        """Read the file and keep the lines that are valid for these inputs.

        Raises:
            StoreError: another process is at work on this layer.
        """
        self._held = contextlib.ExitStack()
        self._held.enter_context(locked(path, doing="keeping finished neurons in", error=StoreError))
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
        path.write_text("\n".join([head, *whole]) + "\n", encoding="utf-8")

    def add(self, neuron: int, row: Mapping[str, Any]) -> None:
        """Append one neuron."""
        self.rows[neuron] = {**row, "neuron": neuron}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.rows[neuron]) + "\n")

    def remove(self) -> None:
        """Delete the file: the table that it was for has been written."""
        self.path.unlink(missing_ok=True)
        self._held.close()
