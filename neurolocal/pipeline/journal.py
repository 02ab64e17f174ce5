"""The finished parts of a layer that is in progress, so that a kill costs one part.

Invariant: the first line identifies the inputs, each further line is the evidence of one part as JSON, arrays as their
bytes. A line cut short by a kill is ignored, and a journal of other inputs is started again. One process at a time
keeps one. It is removed when its table is in the store.
Cost: one write a part; arrays take 4/3 of their bytes.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neurolocal.config import sha256
from neurolocal.errors import StoreError
from neurolocal.files import append_line, locked, write_text
from neurolocal.stage import Evidence

HOW: dict[str, Any] = {
    "doing": "keeping finished work in",
    "todo": "Free disk space, and run the same command again.",
    "error": StoreError,
}
"""How the message of a failed write begins and ends, and its type."""


class Journal:
    """What has been finished so far, by part."""

    def __init__(self, path: Path, made_from: Mapping[str, Any]) -> None:
        """Read the file and keep the lines that are valid for these inputs.

        Raises:
            StoreError: another process is at work on this layer, or the file cannot be written.
        """
        self._held = contextlib.ExitStack()
        self._held.enter_context(locked(path, doing=HOW["doing"], error=StoreError))
        self.path, self.parts = path, dict[int, Evidence]()
        head = json.dumps({"made_from": sha256(dict(made_from))})
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        whole = []
        if lines and lines[0] == head:
            for line in lines[1:]:
                try:
                    found = json.loads(line, object_hook=_decoded)
                    self.parts[int(found["part"])] = dict(found["evidence"])
                except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
                    break
                whole.append(line)
        self._empty = not whole
        write_text(path, "\n".join([head, *whole]) + "\n", **HOW)

    def add(self, part: int, evidence: Evidence) -> None:
        """Append one part.

        Raises:
            StoreError: the file cannot be written.
        """
        self.parts[part], self._empty = evidence, False
        append_line(self.path, json.dumps({"part": part, "evidence": evidence}, default=_encoded), **HOW)

    def close(self) -> None:
        """Let other processes have it; the file stays if it holds a part."""
        if self._empty:
            self.path.unlink(missing_ok=True)
        self._held.close()

    def remove(self) -> None:
        """Delete the file: what it holds is in the store, or of no use."""
        self.path.unlink(missing_ok=True)
        self.close()


def remove_journal(path: Path) -> None:
    """Remove the journal of a table that is in the store: a kill came between the two. One in use is left."""
    if path.is_file():
        with contextlib.suppress(StoreError), locked(path, doing=HOW["doing"], error=StoreError):
            path.unlink(missing_ok=True)


def _encoded(value: Any) -> dict[str, str]:
    """An array as plain values."""
    assert isinstance(value, np.ndarray), type(value)
    assert value.ndim == 1, value.shape
    return {"dtype": value.dtype.str, "base64": base64.b64encode(value.tobytes()).decode()}


def _decoded(found: dict[str, Any]) -> Any:
    """The inverse of `_encoded`; everything else as it is.

    Raises:
        ValueError, TypeError: it is no array of numbers.
    """
    if found.keys() != {"dtype", "base64"}:
        return found
    dtype = np.dtype(found["dtype"])
    if dtype.kind not in "biuf":
        raise ValueError(found["dtype"])
    return np.frombuffer(base64.b64decode(found["base64"], validate=True), dtype)
