"""What a bundle is made of: one file with its origin, and a section that knows its files and can fetch them.

Invariant: a file that is whole is never fetched again. Cost: to tell that, each file is read once; its SHA-256 is
kept in the cache.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from neurolocal.bundle.verify import check_path
from neurolocal.errors import NeurolocalError
from neurolocal.files import file_sha256
from neurolocal.machine import offline
from neurolocal.stage import Say

SECTIONS = ("wheels", "subject", "tokenizer", "vectors", "llm", "corpus")
"""Parts of a bundle that can be chosen; each is a folder in it."""

UNKNOWN = "unknown"
"""A licence that is stated nowhere."""


@dataclass(frozen=True)
class Content:
    """One file of a bundle.

    Raises:
        NeurolocalError: its path leads out of the bundle, or is not valid on every system.
    """

    path: str
    """Its place in the bundle, with slashes."""
    size: int | None
    """Bytes; None where the origin does not say."""
    licence: str
    """An SPDX expression, or what the origin calls it."""
    origin: str
    """Where it comes from: an address, or `local: NAME`."""
    sha256: str | None = None
    """Its SHA-256 by the origin; None where that does not say."""
    git_blob: str | None = None
    """Its SHA-1 as git computes it, where the origin gives that alone."""

    def __post_init__(self) -> None:
        """Refuse a path that `verify` would refuse on the other side."""
        try:
            check_path(self.path)
        except ValueError as error:
            raise NeurolocalError(f"making a bundle: {error}. Rename that file, or carry others.") from error

    @property
    def section(self) -> str:
        """The section that it belongs to."""
        return self.path.partition("/")[0]

    def whole(self, root: Path) -> bool:
        """Whether the bundle in `root` has this file, as the origin says it should be."""
        path = root / self.path
        if path.is_symlink() or not path.is_file() or (self.size is not None and path.stat().st_size != self.size):
            return False
        if self.sha256 is not None:
            return file_sha256(path) == self.sha256
        return self.git_blob is not None and git_blob(path) == self.git_blob


class Section(ABC):
    """The files of one section, from one origin."""

    name: str
    """One of SECTIONS."""

    @abstractmethod
    def plan(self) -> list[Content]:
        """The files that `gather` will fetch, with the sizes that are known; fetches none."""

    @abstractmethod
    def gather(self, root: Path, say: Say) -> list[Content]:
        """Fetch what is not yet whole into the bundle in `root`; gives every file of the section."""


def git_blob(path: Path) -> str:
    """The SHA-1 under which git keeps a file; it tells a damaged file, not a forged one."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while some := file.read(1 << 22):
            digest.update(some)
    return digest.hexdigest()


def require_network(doing: str) -> None:
    """Refuse to use a network where that is forbidden.

    Raises:
        NeurolocalError: NEUROLOCAL_OFFLINE is set to anything but 0.
    """
    if offline():
        raise NeurolocalError(
            f"{doing}: NEUROLOCAL_OFFLINE is set, so no network may be used. Give local paths and --sections without "
            "wheels, or unset it."
        )


def plain_url(url: str) -> str:
    """An address without user, password, query and fragment; a file's without its folder."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return f"local: {parts.path.rpartition('/')[2]}"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
