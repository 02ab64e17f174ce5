"""A section from a file or folder of this machine.

Invariant: links are followed, each folder once, so the bundle holds plain files; hidden files are left out.
Cost: one copy, and one read of each side to tell what is whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from neurolocal.bundle.content import Content, Section
from neurolocal.bundle.licences import licence_of_path
from neurolocal.errors import NeurolocalError
from neurolocal.files import file_sha256, replacing
from neurolocal.progress import Bar
from neurolocal.stage import Say


class LocalSection(Section):
    """A file, a folder, or all parts of a split GGUF."""

    def __init__(self, name: str, path: Path, *, licence: str | None = None) -> None:
        """Name the section and its origin; `licence` where the user states it."""
        self.name, self.path = name, path.resolve() if path.name in ("", "..") else path
        self.licence = licence or licence_of_path(path)

    @property
    def entry(self) -> str:
        """What a run file names: the folder or the (first) file, in the bundle."""
        return f"{self.name}/{self.path.name}"

    def plan(self) -> list[Content]:
        """The files of the section; their SHA-256 is left to `gather`."""
        return [self._content(path, place) for path, place in self._files()]

    def gather(self, root: Path, say: Say) -> list[Content]:
        """Copy what is not whole."""
        found = []
        for path, place in Bar(self._files(), desc=f"copying {self.name}", unit="file", delay=2, leave=False):
            content = self._content(path, place, sha256=file_sha256(path))
            found.append(content)
            if not content.whole(root):
                to = root / place
                to.parent.mkdir(parents=True, exist_ok=True)
                with replacing(to, doing="copying to") as beside:
                    shutil.copyfile(path, beside)
        return found

    def _content(self, path: Path, place: str, sha256: str | None = None) -> Content:
        return Content(place, path.stat().st_size, self.licence, f"local: {path.name}", sha256=sha256)

    def _files(self) -> list[tuple[Path, str]]:
        """Each file and its place."""
        if self.path.is_file():
            return [(path, f"{self.name}/{path.name}") for path in _parts(self.path)]
        root = self.path.resolve()
        found = [(path, f"{self.entry}/{path.relative_to(root).as_posix()}") for path in _walk(root, set[Path]())]
        if not found:
            raise NeurolocalError(f"bundling {self.name} from {self.path}: the folder holds no files. Check the path.")
        return found


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """The files of a folder and below it, in the order of their names; a folder that has several names once."""
    real = folder.resolve()
    if real in seen:
        return
    seen.add(real)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, seen)
        elif path.is_file():
            yield path


def _parts(path: Path) -> list[Path]:
    """The file, or all parts of a GGUF that is split into several."""
    if path.suffix != ".gguf":
        return [path]
    from neurolocal.subject.gguf_parts import gguf_parts

    return gguf_parts(path) or [path]
