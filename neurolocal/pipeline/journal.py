"""Neurons of a layer that is not done yet, so that a stop costs one neuron.

Invariant: one JSON line each, the first naming what they are made from; a line cut short by a kill is left out, and a
journal of other inputs is begun anew. Cost: one short write a neuron.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurolocal.config import sha256


class Journal:
    """What was done so far, by neuron, as plain values."""

    def __init__(self, path: Path, made_from: Mapping[str, Any]) -> None:
        """Read what is there and still holds."""
        self.path, self.rows = path, dict[int, dict[str, Any]]()
        head = json.dumps({"made_from": sha256(dict(made_from))})
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        whole = []
        if lines and lines[0] == head:
            for line in lines[1:]:
                try:
                    row = json.loads(line)
                    self.rows[int(row["neuron"])] = row
                except (ValueError, TypeError, KeyError):
                    break
                whole.append(line)
        path.write_text("\n".join([head, *whole]) + "\n", encoding="utf-8")

    def add(self, neuron: int, row: Mapping[str, Any]) -> None:
        """Keep one more."""
        self.rows[neuron] = {**row, "neuron": neuron}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.rows[neuron]) + "\n")

    def remove(self) -> None:
        """Delete the file: the table that it was for has been written."""
        self.path.unlink(missing_ok=True)
