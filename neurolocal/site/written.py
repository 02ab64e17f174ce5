"""The list of the files that a site wrote, by which a later build removes those that are no longer part of it.

Invariant: nothing is removed but what the list names, has the name of a file of a site, and lies in the folder. The
list names a file before it is written, so an interrupted build leaves none that is not named. Cost: one line a file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Set
from contextlib import suppress
from pathlib import Path

from neurolocal.files import replacing

LIST = "assets/files.txt"
"""The file with the names, one a line, sorted."""


def read_list(folder: Path, *, known: Callable[[str], bool]) -> set[str]:
    """The files that earlier builds wrote; names that no file of a site has are left out."""
    try:
        text = (folder / LIST).read_text("utf-8")
    except (OSError, UnicodeError):
        return set()  # none, or of an earlier version: nothing is removed
    return {name for name in text.split("\n") if known(name)}


def write_list(folder: Path, names: Iterable[str]) -> None:
    """Write the list, unless it is there already."""
    content = "".join(f"{name}\n" for name in sorted(names)).encode()
    with suppress(OSError):
        if (folder / LIST).read_bytes() == content:
            return
    with replacing(folder / LIST, doing="writing the site's", durable=False) as beside:
        beside.write_bytes(content)


def remove(folder: Path, names: Set[str], *, kept: Collection[str]) -> int:
    """Remove the named files but those that are kept, and folders that are empty then; gives how many were removed."""
    removed, root = 0, folder.resolve()
    gone = names - set(kept)
    for name in sorted(gone):
        path = folder / name
        with suppress(OSError):
            if path.is_file() and path.parent.resolve().is_relative_to(root):
                path.unlink()
                removed += 1
    for parent in sorted({(folder / name).parent for name in gone}, reverse=True):
        with suppress(OSError):  # other files are in it
            parent.rmdir()
    return removed
