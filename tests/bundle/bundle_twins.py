"""Small bundles, and what is wrong with damaged ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neurolocal.bundle import Bundle, make_bundle
from neurolocal.bundle.local import LocalSection

TEXTS = {"a/one.txt": "one\n", "a/b/two.txt": "two, " * 40_000, "a/empty.txt": "", "three.txt": "three " * 30_000}


def write_corpus(folder: Path) -> Path:
    for name, text in TEXTS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def small_bundle(root: Path, corpus: Path, **how: Any) -> Path:
    """A bundle of a folder of texts; gives the folder to carry."""
    return make_bundle(Bundle([LocalSection("corpus", corpus)]), root, say=lambda line: None, **how)


def change(root: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the manifest of a bundle."""
    path = root / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    edit(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")
