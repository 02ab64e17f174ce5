"""Sizes of files and folders on the disk, by which a file that is cut while it is read is found.

Cost: one `stat` a file.
"""

from __future__ import annotations

from pathlib import Path


def corpus_bytes(files: list[Path]) -> int:
    """Size of the files on the disk, in bytes."""
    return sum(bytes_of(path) for path in files)


def bytes_of(path: Path) -> int:
    """Size of a file or folder; 0 where it is missing, which reading it then reports."""
    if path.is_dir():
        return corpus_bytes([f for f in path.rglob("*") if f.is_file()])
    return path.stat().st_size if path.is_file() else 0


def require_uncut(path: Path, size: int) -> None:
    """Detect a file that is truncated while it is read: reading alone would take it for a shorter one.

    Raises:
        EOFError: it has fewer bytes than before.
    """
    if (now := bytes_of(path)) < size:
        raise EOFError(f"it was cut from {size:,} to {now:,} bytes while it was read")
