"""One model's folder of an exported website, and the file `neurolocal.json` in it.

Invariant: `neurolocal.json` states what the pages were made from and which neurons have one. A folder or file that is
not from an export is never overwritten. A page appears whole or not at all.
Cost: one read and one write of a small file.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neurolocal.errors import StoreError
from neurolocal.files import remove_leftovers, write_text

MARKER = "neurolocal.json"
GENERATOR = '<meta name="generator" content="neurolocal">'
"""The tag by which our own index pages are recognised."""

RESERVED = ("", "index.html", "random.html", "model.html")
LONGEST_NAME = 100


@dataclass
class ModelFolder:
    """One model's part of a site."""

    path: Path
    model: str
    dataset: str
    of: dict[str, Any]
    """What its pages were made from: weights, rows, site, side. All pages of a folder agree in this."""
    layers: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Layer -> its neurons that have a page, as ranges, both ends included."""

    @property
    def pages(self) -> int:
        """How many neurons have a page."""
        return sum(high - low + 1 for ranges in self.layers.values() for low, high in ranges)


def folder_name(model: str) -> str:
    """A model's name as one safe component of a path: the part after the last `/`, unusual characters as `-`."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", model.rstrip("/").rpartition("/")[2]).lstrip(".")[:LONGEST_NAME]
    return f"{name or 'model'}-" if name in RESERVED[1:] else name or "model"


def ranges(neurons: Sequence[int]) -> list[tuple[int, int]]:
    """0, 1, 2, 5 -> (0, 2), (5, 5)."""
    found: list[tuple[int, int]] = []
    for n in neurons:
        if found and n == found[-1][1] + 1:
            found[-1] = (found[-1][0], n)
        else:
            found.append((n, n))
    return found


TODO = "Free space or choose a folder that can be written to, and run the same export again."


@contextlib.contextmanager
def one_line_errors(path: Path) -> Generator[None, None, None]:
    """Turn a full disk or a folder that cannot be written into a one-line error."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"exporting to {error.filename or path}: {error.strerror or error}. {TODO}") from error


def put(path: Path, text: str) -> None:
    """Write a page, whole or not at all.

    It is not flushed to the disk by itself: for 50,000 pages that would take longer than everything else.

    Raises:
        StoreError: it cannot be written; what was there is untouched.
    """
    write_text(path, text, doing="exporting to", todo=TODO, error=StoreError, durable=False)


def open_model(out: Path, model: str, dataset: str, of: dict[str, Any]) -> ModelFolder:
    """The folder of a model, made, or opened to add to it.

    Raises:
        StoreError: the folder holds something else or pages of another store, or it cannot be written.
    """
    mine = ModelFolder(out / folder_name(model), model, dataset, of)
    with one_line_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for name in ("index.html", "random.html"):
            if (out / name).exists() and GENERATOR not in (out / name).read_text("utf-8", "replace"):
                raise StoreError(f"exporting to {out}: {name} there is not from an export. Choose another folder.")
        mine.path.mkdir(exist_ok=True)
        remove_leftovers(mine.path)
        there = read_model(mine.path)
        if there is None and any(not one.name.endswith(".partial") for one in mine.path.iterdir()):
            raise StoreError(
                f"exporting to {mine.path}: it holds files that are from no export. Choose another folder or --model."
            )
        if there is not None:
            differing = [name for name in of if there.of.get(name) != of[name]]
            if differing or (there.model, there.dataset) != (model, dataset):
                what = ", ".join(f"{name} {ascii(there.of.get(name))[:40]}, not {of[name]}" for name in differing)
                raise StoreError(
                    f"exporting to {mine.path}: its pages are of {ascii(there.model)[:80]} on "
                    f"{ascii(there.dataset)[:80]} ({what or 'another name'}). "
                    "Choose another folder or --model, or remove it."
                )
            mine.layers = there.layers
    return mine


def read_model(path: Path) -> ModelFolder | None:
    """The content of a folder's `neurolocal.json`; None if there is none, or it is damaged."""
    try:
        there = json.loads((path / MARKER).read_text("utf-8"))
        model, dataset, of = there["model"], there["dataset"], there["of"]
        layers = {int(k): [(int(a), int(b)) for a, b in v] for k, v in there["layers"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    sound = all(0 <= low <= high < 1 << 31 for found in layers.values() for low, high in found)
    known = isinstance(model, str) and isinstance(dataset, str) and isinstance(of, dict)
    return ModelFolder(path, model, dataset, of, dict(sorted(layers.items()))) if sound and known else None


def put_model(folder: ModelFolder) -> None:
    """Write a folder's `neurolocal.json`."""
    content = {
        "model": folder.model,
        "dataset": folder.dataset,
        "of": folder.of,
        "layers": dict(sorted(folder.layers.items())),
    }
    put(folder.path / MARKER, json.dumps(content) + "\n")
