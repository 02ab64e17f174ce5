"""Sizes of files and folders on the disk, by which a file that is cut while it is read is found.

Cost: one `stat` a file; none of a file on other storage, which watches for changes itself (`storage.StoredFile`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neurolocal.storage import StoredFile

CorpusFile = Path | StoredFile
"""A file of a corpus, or a saved data set: of this machine, or on other storage."""


def corpus_bytes(files: Sequence[CorpusFile]) -> int:
    """Size of the files, in bytes, as they are stored."""
    return sum(bytes_of(path) for path in files)


def bytes_of(path: CorpusFile) -> int:
    """Size of a file or folder; 0 where it is missing, which reading it then reports."""
    if isinstance(path, StoredFile):
        return path.size
    if path.is_dir():
        return corpus_bytes([f for f in path.rglob("*") if f.is_file()])
    return path.stat().st_size if path.is_file() else 0


def require_uncut(path: CorpusFile, size: int) -> None:
    """Detect a file that is truncated while it is read: reading alone would take it for a shorter one.

    Raises:
        EOFError: it has fewer bytes than before.
    """
    if (now := bytes_of(path)) < size:
        raise EOFError(f"it was cut from {size:,} to {now:,} bytes while it was read")
