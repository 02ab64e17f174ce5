"""What is made from a store's file, made anew when another file has taken its place.

Invariant: `get` gives what was made from one state of the file, the newest that could be opened. A file that is gone,
or that cannot be opened, changes nothing: the open one stays readable. Cost: one `stat` a `get`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from neurolocal.errors import NeurolocalError

T = TypeVar("T")


class Stamp(NamedTuple):
    """What tells one state of a file from another: writers put a new file in its place."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class Current(Generic[T]):
    """Something made from a file; for one thread."""

    def __init__(
        self, path: Path, make: Callable[[Stamp], T], *, close: Callable[[T], object], say: Callable[[str], None]
    ) -> None:
        """Make it for the first time.

        Args:
            path: the file.
            make: opens the file.
            close: closes what was made.
            say: receives one line where the file has changed.

        Raises:
            NeurolocalError: what `make` raises.
        """
        self._path, self._make, self._close, self._say = path, make, close, say
        self._stamp = self._failed = self._seen() or Stamp(0, 0, 0, 0)  # gone: `make` says what is wrong
        self._made = make(self._stamp)

    def get(self) -> T:
        """What was made from the file as it is, or as it last was."""
        stamp = self._seen()
        if stamp is None or stamp in (self._stamp, self._failed):
            return self._made
        try:
            made = self._make(stamp)
        except NeurolocalError as error:
            self._failed = stamp
            self._say(f"{self._path} has changed and cannot be used; what was open stays open: {error}")
            return self._made
        self.close()
        self._made, self._stamp = made, stamp
        return made

    def close(self) -> None:
        """Close what was made."""
        with suppress(Exception):  # whatever is wrong with the old file no longer matters
            self._close(self._made)

    def _seen(self) -> Stamp | None:
        """The state of the file; None where it is gone, or about to be replaced."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
