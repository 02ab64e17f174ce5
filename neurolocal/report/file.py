"""A text file that appears whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from neurolocal.errors import NeurolocalError


def write_whole(path: Path, text: str) -> None:
    """Write UTF-8 text beside `path`, flush it, then rename: a kill leaves the old file or the new one.

    A folder that is missing or cannot be written to is a `NeurolocalError`; nothing is left behind.
    """
    path = Path(path)
    beside = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name[:100]}.", encoding="utf-8", newline="", delete=False
        ) as file:
            beside = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o666 & ~_umask())
        beside.replace(path)
    except OSError as error:
        raise NeurolocalError(
            f"writing {path}: {error.strerror or error}. Make the folder, or choose a path that can be written to."
        ) from error
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
