"""The folder of an export and its `manifest.json`.

Invariant: the manifest is removed first and written last, so a folder with one is complete. A manifest of something
else is never replaced.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neurolocal.errors import StoreError
from neurolocal.files import write_text
from neurolocal.records import TABLES
from neurolocal.render.figures import strict
from neurolocal.store import Store

FORMAT = "neurolocal-export"
"""`format` of a manifest."""

DOING: dict[str, Any] = {"doing": "exporting to", "error": StoreError}
"""How the message of a failed write begins, and its type."""


def open_folder(out: Path) -> Path:
    """Make the folder of an export and remove the manifest of an earlier one; where the new one is written.

    Raises:
        StoreError: the folder cannot be made, or holds a manifest of something else.
    """
    path = make_folder(out) / "manifest.json"
    if path.exists() or path.is_symlink():
        with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
            if path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("format") == FORMAT:
                path.unlink()
                return path
        raise StoreError(f"exporting to {out}: it holds a manifest.json of something else. Choose another folder.")
    return path


def make_folder(folder: Path) -> Path:
    """Make a folder of an export if there is none; the folder.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said = f"{error.strerror}. Choose a folder that can be written to."
        raise StoreError(f"exporting to {folder}: {said}") from error
    return folder


def put_manifest(
    path: Path, store: Store, layers: Sequence[int], files: str, facts: Mapping[str, Any] | None = None
) -> None:
    """Write the manifest: what was exported, the store's own manifest, and what each stage's tables were made from.

    Args:
        path: the result of `open_folder`.
        store: what was exported.
        layers: which of its layers.
        files: the kind of the files.
        facts: what else to state.
    """
    manifest = {
        "format": FORMAT,
        "version": 1,
        "files": files,
        "site": store.site,
        "layers": list(layers),
        **(facts or {}),
        "stages": {stage: _made_from(store, stage, layers) for stage in TABLES},
        "store": store.manifest,
    }
    write_text(path, json.dumps(strict(manifest), indent=1) + "\n", **DOING)


def _made_from(store: Store, stage: str, layers: Sequence[int]) -> dict[str, Any]:
    """`LAYER/SIDE` -> what a stage's table was made from."""
    found = {(n, side): store.inputs(stage, n, side) for n in layers for side in store.sides(n)}
    return {f"{layer}/{side}": made for (layer, side), made in found.items() if made is not None}
