"""Cut the files of a bundle into volumes of a given size; `verify` puts them together.

Invariant: the volumes, one after another, are the files, one after another, in the manifest's order. Cost: one read and
one write of everything, so as much disk again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from neurolocal.bundle.verify import MANIFEST, PROGRAM
from neurolocal.errors import NeurolocalError
from neurolocal.files import replacing

SMALLEST = 1 << 16
"""Bytes of a volume: with fewer there would be too many."""

CHUNK = 1 << 22

OURS = re.compile(rf"({re.escape(MANIFEST)}|{re.escape(PROGRAM)}|volume-[0-9]{{4,}})")
"""What `make` writes into the folder."""


def open_volumes(folder: Path, size: int) -> None:
    """Make the folder of the volumes, or take that of earlier ones; its manifest goes first.

    Raises:
        NeurolocalError: volumes too small, or a folder that holds something else.
    """
    if size < SMALLEST:
        raise NeurolocalError(f"--volume-size {size}: a volume has at least {SMALLEST:,} bytes.")
    folder.mkdir(exist_ok=True)
    others = [path.name for path in folder.iterdir() if not _ours(path.name)]
    if others:
        raise NeurolocalError(
            f"writing volumes into {folder}: it holds {others[0]}. Remove it, or choose another folder."
        )
    (folder / MANIFEST).unlink(missing_ok=True)


def cut(files: Sequence[Path], folder: Path, size: int) -> list[dict[str, Any]]:
    """Write the volumes into a folder of `open_volumes`; what the manifest says of each.

    Earlier volumes that are not among these are removed.
    """
    pieces, found = _pieces(files, size), list[dict[str, Any]]()
    left = next(pieces, b"")
    while left:
        path = folder / f"volume-{len(found) + 1:04d}"
        digest, room = hashlib.sha256(), size
        with replacing(path, doing="writing") as beside, beside.open("wb") as out:
            while left and room:
                some, left = left[:room], left[room:]
                out.write(some)
                digest.update(some)
                room -= len(some)
                left = left or next(pieces, b"")
        found.append({"path": path.name, "size": size - room, "sha256": digest.hexdigest()})
    names = {entry["path"] for entry in found}
    for path in folder.glob("volume-*"):
        if path.name not in names:
            path.unlink()
    return found


def _ours(name: str) -> bool:
    """Whether a `make` wrote a file of that name, or was killed while it did."""
    if name.startswith(".") and name.endswith(".partial"):
        return OURS.match(name, 1) is not None
    return OURS.fullmatch(name) is not None


def _pieces(files: Sequence[Path], size: int) -> Iterator[bytes]:
    """The bytes of all files in order; no piece is empty."""
    for path in files:
        with path.open("rb") as file:
            while some := file.read(min(size, CHUNK)):
                yield some
