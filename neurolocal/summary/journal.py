"""Described neurons of a layer that is not done yet, so that a stop costs one neuron.

Invariant: one JSON line each, the first naming what they are made from; a line cut short by a kill is left out, and a
journal of other inputs is begun anew. Cost: one short write a neuron.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurolocal.config import sha256
from neurolocal.summary.describe import Description


class Journal:
    """What was described so far, by neuron."""

    def __init__(self, path: Path, made_from: Mapping[str, Any]) -> None:
        """Read what is there and still holds."""
        self.path, self.rows = path, dict[int, Description]()
        head = json.dumps({"made_from": sha256(dict(made_from))})
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        whole = []
        if lines and lines[0] == head:
            for line in lines[1:]:
                try:
                    row = Description(**json.loads(line))
                except (ValueError, TypeError):
                    break
                self.rows[row.neuron] = row
                whole.append(line)
        path.write_text("\n".join([head, *whole]) + "\n", encoding="utf-8")

    def add(self, row: Description) -> None:
        """Keep one more."""
        self.rows[row.neuron] = row
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row._asdict()) + "\n")
