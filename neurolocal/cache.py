"""The folder for what can be made again: dequantised weights, translated paths, hashes.

`$NEUROLOCAL_CACHE`, or `neurolocal` under `$XDG_CACHE_HOME`, or under `~/.cache`. Deleting it costs time, never a
result.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path


def cache_folder(*parts: str) -> Path:
    """A folder of the cache, made if it is not there."""
    root = os.environ.get("NEUROLOCAL_CACHE") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "neurolocal"
    )
    folder = Path(root, *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place, then rename: a reader sees the old text or the new, never a part."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Kept in the cache by path, size and time of change, so a 14 GB checkpoint is hashed once, not at every start.
    """
    facts = path.stat()
    identity = json.dumps([str(path.resolve()), facts.st_size, facts.st_mtime_ns, facts.st_ino])
    kept = cache_folder("sha256") / hashlib.sha256(identity.encode()).hexdigest()
    with contextlib.suppress(FileNotFoundError):
        return kept.read_text()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write_text(kept, digest)
    return digest
