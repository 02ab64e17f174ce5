"""The section `wheels`: the project's wheel and every package that it needs, by pip, for one Python and platform.

Invariant: pip alone resolves, downloads and builds; each file is known by the SHA-256 that the index gives, and one
that is whole is not fetched again. Packages without a wheel are built here, for any processor of the platform's kind.
Cost: pip's time; llama-cpp-python is compiled in some 10 minutes, once for each setting of CMAKE_ARGS.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from neurolocal.bundle.content import Content, Section, plain_url, require_network
from neurolocal.bundle.licences import licence_of_metadata
from neurolocal.bundle.pip import Pip, Target
from neurolocal.errors import NeurolocalError
from neurolocal.files import cache_folder, file_sha256, replacing, write_text
from neurolocal.stage import Say

if TYPE_CHECKING:
    from packaging.requirements import Requirement

BATCH = 12
"""Wheels that one call of pip fetches: an interrupted call loses no more."""

NO_WHEEL = ("llama-cpp-python", "transformers-stream-generator")
"""Packages that come as source alone; for a foreign target they are built before pip resolves, which then takes no
source."""


class Package(NamedTuple):
    """One package as pip resolved it."""

    name: str
    """As its metadata spells it."""
    version: str
    """Its version."""
    url: str
    """Where its file lies."""
    sha256: str | None
    """Of that file; None where the index does not say."""
    licence: str
    """As its metadata states it."""

    @property
    def file(self) -> str:
        """The name of the file."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])

    @property
    def content(self) -> Content:
        """The package as a file of the bundle; a source's wheel has no name before it is built."""
        path = _path(self.url)
        size = path.stat().st_size if path else None
        if not self.file.endswith(".whl"):
            return Content(f"wheels/{self.file}", size, self.licence, f"{plain_url(self.url)} (built here)")
        return Content(f"wheels/{self.file}", size, self.licence, plain_url(self.url), sha256=self.sha256)


class Wheels(Section):
    """The wheels of a project and its extras."""

    name = "wheels"

    def __init__(self, project: str, *, extras: str, constraints: Path | None, target: Target, pip: Pip) -> None:
        """Name what is to be installed on the other side.

        Args:
            project: a source tree, a wheel, or a requirement such as `neurolocal==0.1.0`.
            extras: names of extras with commas between; may be empty.
            constraints: a constraints.txt of pip; None lets pip choose versions.
            target: the Python and platform of the other side.
            pip: how pip is called.
        """
        self.project, self.extras, self.constraints = project, extras, constraints
        self.target, self.pip = target, pip
        self.install = ""

    def plan(self) -> list[Content]:
        """What pip resolves, with sizes where the index's server states them."""
        with _work() as work:
            packages = self._resolved(work)
            contents = [package.content for package in packages]
        with ThreadPoolExecutor(8) as pool:
            sizes = list(pool.map(_size, (package.url for package in packages)))
        return [
            content if content.size is not None else replace(content, size=size)
            for content, size in zip(contents, sizes, strict=True)
        ]

    def gather(self, root: Path, say: Say) -> list[Content]:
        """Fetch or build what is not whole."""
        (root / "wheels").mkdir(exist_ok=True)
        with _work() as work:
            packages = self._resolved(work)
            ready = [package for package in packages if package.file.endswith(".whl")]
            missing = [package for package in ready if not package.content.whole(root)]
            if missing:
                say(f"wheels: {len(missing)} of {len(packages)} to fetch")
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                self.pip("download", "--no-deps", *self.target.flags, "--dest", work / "got", *map(_pinned, batch))
                for package in batch:
                    _move(work / "got" / package.file, root / "wheels" / package.file)
            sources = [package for package in packages if not package.file.endswith(".whl")]
            return [p.content for p in ready] + [self._built(package, root, work, say) for package in sources]

    def _resolved(self, work: Path) -> list[Package]:
        """Every package that pip would install on the other side."""
        require_network("resolving the packages of neurolocal with pip")
        wheel = self._wheel(work)
        extras = f"[{self.extras}]" if self.extras else ""
        if wheel is None:
            requirement = self._requirement()
            name, wanted = requirement.name, str(requirement)
        else:
            name = wheel.name.partition("-")[0]
            wanted = f"{name}{extras} @ {wheel.resolve().as_uri()}"
        report = work / "report.json"
        links = ["--find-links", self._built_before(work)] if self.target.foreign else []
        into = ["--target", work / "nowhere"] if self.target.foreign else ["--ignore-installed"]
        pinned = ["--constraint", self.constraints] if self.constraints else []
        self.pip("install", "--dry-run", "--report", report, *into, *self.target.flags, *links, *pinned, wanted)
        packages = [_package(found) for found in json.loads(report.read_text(encoding="utf-8"))["install"]]
        own = next(p for p in packages if _same(p.name, name))
        self.install = f"{own.name}{extras}=={own.version}"
        return packages

    def _wheel(self, work: Path) -> Path | None:
        """The project's own wheel, built from its tree where that is given; None where an index has it."""
        path = Path(self.project)
        if path.suffix == ".whl" and path.is_file():
            return path
        if not (path / "pyproject.toml").is_file():
            return None
        self.pip("wheel", "--no-deps", "--wheel-dir", work / "own", path.resolve())
        return next((work / "own").glob("*.whl"))

    def _requirement(self) -> Requirement:
        """The project as a requirement, with its own extras and those that were asked for.

        Raises:
            NeurolocalError: it is none.
        """
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            found = Requirement(self.project)
        except InvalidRequirement as error:
            raise NeurolocalError(
                f"--project {self.project}: no source tree, no wheel, and no requirement. Give one of these, for "
                "example neurolocal==0.1.0."
            ) from error
        found.extras |= {extra.strip() for extra in self.extras.split(",") if extra.strip()}
        return found

    def _built_before(self, work: Path) -> Path:
        """For a foreign target: a folder with wheels of what comes as source alone."""
        pinned = ["--constraint", self.constraints] if self.constraints else []
        self.pip("wheel", "--no-deps", "--wheel-dir", work / "built", *pinned, *NO_WHEEL, building=True)
        return work / "built"

    def _built(self, package: Package, root: Path, work: Path, say: Say) -> Content:
        """Build the wheel of a source, or find the one that was built of it before."""
        record = (
            cache_folder("bundle")
            / hashlib.sha256(
                json.dumps([package.url, package.sha256, self.target.python, self.pip.build_settings]).encode()
            ).hexdigest()
        )
        content = package.content
        if record.is_file():
            file, sha256 = record.read_text(encoding="utf-8").split()
            before = _with_wheel(content, file, sha256)
            if before.whole(root):
                return before
        say(f"wheels: building {package.name} {package.version}")
        out = work / "built"
        self.pip("wheel", "--no-deps", "--wheel-dir", out, _pinned(package), building=True)
        wheel = next(p for p in out.glob("*.whl") if _same(p.name.partition("-")[0], package.name))
        _move(wheel, root / "wheels" / wheel.name)
        sha256 = file_sha256(root / "wheels" / wheel.name)
        write_text(record, f"{wheel.name} {sha256}", durable=False)
        return _with_wheel(content, wheel.name, sha256)


@contextmanager
def _work() -> Generator[Path, None, None]:
    """A folder for pip, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="neurolocal-bundle-") as folder:
        yield Path(folder)


def _package(found: dict[str, Any]) -> Package:
    """A package of pip's report (https://pip.pypa.io/en/stable/reference/installation-report/)."""
    info, metadata = found["download_info"], found["metadata"]
    sha256 = (info.get("archive_info") or {}).get("hashes", {}).get("sha256")
    url = info["url"]
    path = _path(url)
    if sha256 is None and path is not None and path.is_file():
        sha256 = file_sha256(path)
    return Package(metadata["name"], metadata["version"], url, sha256, licence_of_metadata(metadata))


def _path(url: str) -> Path | None:
    """The file of an address on this machine."""
    return Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None


def _same(name: str, other: str) -> bool:
    """Whether two spellings name the same package: pip and wheels spell names in several ways."""
    from packaging.utils import canonicalize_name

    return canonicalize_name(name) == canonicalize_name(other)


def _pinned(package: Package) -> str:
    """A requirement for pip: this file, which must have this checksum."""
    return f"{package.name} @ {package.url}" + (f"#sha256={package.sha256}" if package.sha256 else "")


def _move(path: Path, to: Path) -> None:
    if not path.is_file():
        raise NeurolocalError(f"fetching {to.name} with pip: pip ended well, but the file is not there.")
    with replacing(to, doing="writing") as beside:
        shutil.move(path, beside)


def _with_wheel(content: Content, file: str, sha256: str) -> Content:
    return replace(content, path=f"wheels/{file}", size=None, sha256=sha256)


def _size(url: str) -> int | None:
    """Bytes of a file on a web server, by HEAD; None where it does not say."""
    if not url.startswith(("http://", "https://")):
        return None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, ValueError, TypeError):
        return None


def project_of(package: Path) -> str:
    """The source tree that this package runs from, or the requirement of the installed one."""
    if (package.parent / "pyproject.toml").is_file():
        return str(package.parent)
    from importlib.metadata import version

    return f"neurolocal=={version('neurolocal')}"


def constraints_of(package: Path) -> Path | None:
    """The project's constraints.txt, in its source tree or inside the package."""
    places: Sequence[Path] = (package.parent / "constraints.txt", package / "bundle" / "constraints.txt")
    return next((path for path in places if path.is_file()), None)


def portable_builds() -> dict[str, str]:
    """The environment of builds whose result runs on other machines too: llama.cpp for AVX2, not for this processor."""
    return os.environ | {"CMAKE_ARGS": os.environ.get("CMAKE_ARGS") or "-DGGML_NATIVE=OFF"}
