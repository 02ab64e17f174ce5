"""Gather a bundle: plan its sections, fetch what is missing, write the run file, the manifest and the volumes.

Invariant: the manifest is removed first and written last, so a folder with one is complete; until then the folder WORK
marks it as half made. Files of an earlier bundle that this one does not have are removed. An interrupted `make`
resumes. Cost: one read of every file beside the fetching.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from neurolocal.bundle.content import SECTIONS, UNKNOWN, Content, Section
from neurolocal.bundle.licences import licence_of_wheel
from neurolocal.bundle.run_file import RUN_FILE
from neurolocal.bundle.verify import FORMAT, MANIFEST, PROGRAM, VERSION, check_manifest, readable
from neurolocal.bundle.volumes import cut, open_volumes
from neurolocal.bundle.wheels import Wheels
from neurolocal.errors import NeurolocalError
from neurolocal.files import file_sha256, locked, replacing, write_text
from neurolocal.stage import Say

VERIFIER = Path(__file__).with_name(PROGRAM)
"""What is copied into each bundle."""

WORK = ".making"
"""Folder in the bundle for what is only half there."""


@dataclass(frozen=True)
class Bundle:
    """What a bundle is to hold."""

    sections: Sequence[Section]
    """The origins of its files, a section each."""
    run: str | None = None
    """The text of its RUN.toml; None writes none."""
    notes: Sequence[str] = ()
    """What the user should know of what is not carried, a line each."""


def plan_bundle(bundle: Bundle) -> dict[str, list[Content]]:
    """Section -> the files that it will have; fetches none.

    Raises:
        NeurolocalError: an origin is missing, or cannot be asked.
    """
    return {section.name: section.plan() for section in bundle.sections}


def make_bundle(bundle: Bundle, root: Path, *, say: Say, volume_size: int | None = None) -> Path:
    """Gather a bundle in a folder; gives the folder to carry: `root`, or that of its volumes, `root`.volumes.

    Args:
        bundle: what it is to hold.
        root: the folder, made if there is none; one that holds something else is refused.
        say: receives one line at a time.
        volume_size: bytes of a volume; None makes none.

    Raises:
        NeurolocalError: an origin cannot be read or fetched, a folder holds something else or is being written by
            another process, the volumes are too small, or the disk is full.
    """
    with contextlib.suppress(OSError):  # `locked` says what is wrong with it
        root.parent.mkdir(parents=True, exist_ok=True)
    with locked(root, doing="making a bundle in"):
        return _made(bundle, root, say, volume_size)


def _made(bundle: Bundle, root: Path, say: Say, volume_size: int | None) -> Path:
    folder = root.with_name(f"{root.name}.volumes")
    _open(root)
    for note in bundle.notes:
        say(note)
    if volume_size is not None:
        open_volumes(folder, volume_size)
    contents = [content for section in bundle.sections for content in _gathered(section, root, say)]
    if bundle.run is not None:
        write_text(root / RUN_FILE, bundle.run, doing="writing")
        contents.append(Content(RUN_FILE, None, "NOASSERTION", "written by bundle make"))
    _remove_others(root, {content.path for content in contents}, say)
    entries = [_entry(content, root) for content in contents]
    manifest = _manifest(bundle, entries)
    _put_verifier(root)
    for path in (root / WORK).iterdir():
        shutil.rmtree(path, ignore_errors=True)
    _write(manifest, root, say)
    shutil.rmtree(root / WORK, ignore_errors=True)
    if volume_size is None:
        return root
    volumes = cut([root / entry["path"] for entry in entries], folder, volume_size)
    _put_verifier(folder)
    _write(manifest | {"volumes": volumes}, folder, say)
    say(f"{len(volumes)} volumes in {folder}: carry that folder's files")
    return folder


def _put_verifier(folder: Path) -> None:
    with replacing(folder / PROGRAM, doing="writing") as beside:
        shutil.copyfile(VERIFIER, beside)


def _open(root: Path) -> None:
    """Make the folder, or take that of an earlier `make`; its manifest goes first."""
    path = root / MANIFEST
    try:
        root.mkdir(parents=True, exist_ok=True)
        ours = (root / WORK).is_dir() or not any(root.iterdir())
        with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
            ours = ours or json.loads(path.read_text(encoding="utf-8")).get("format") == FORMAT
        if ours:
            (root / WORK).mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
            return
    except OSError as error:
        raise NeurolocalError(f"making a bundle in {root}: {error.strerror}. Choose another folder.") from error
    raise NeurolocalError(f"making a bundle in {root}: it holds something else. Choose a new folder.")


def _gathered(section: Section, root: Path, say: Say) -> list[Content]:
    contents = section.gather(root, say)
    size = sum((root / content.path).stat().st_size for content in contents)
    say(f"{section.name}: {len(contents)} files, {readable(size)}")
    return contents


def _remove_others(root: Path, listed: set[str], say: Say) -> None:
    """Remove what is left of an earlier bundle in the folders of the sections."""
    for name in SECTIONS:
        for path in sorted((root / name).rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                with contextlib.suppress(OSError):  # it is not empty
                    path.rmdir()
            elif path.relative_to(root).as_posix() not in listed:
                say(f"removing {path}: it is of an earlier bundle")
                path.unlink()
    if RUN_FILE not in listed:
        (root / RUN_FILE).unlink(missing_ok=True)


def _entry(content: Content, root: Path) -> dict[str, Any]:
    """One file of the manifest."""
    path = root / content.path
    licence = content.licence
    if licence == UNKNOWN and path.suffix == ".whl":
        licence = licence_of_wheel(path)
    section = content.section if "/" in content.path else "run"
    facts = {"path": content.path, "size": path.stat().st_size, "sha256": file_sha256(path)}
    return facts | {"section": section, "licence": licence, "origin": content.origin}


def _manifest(bundle: Bundle, entries: list[dict[str, Any]]) -> dict[str, Any]:
    wheels = next((section for section in bundle.sections if isinstance(section, Wheels)), None)
    return {
        "format": FORMAT,
        "version": VERSION,
        "made_with": f"neurolocal {version('neurolocal')}",
        "python": wheels and wheels.target.python,
        "platform": wheels and wheels.target.platform,
        "install": wheels and wheels.install,
        "run": RUN_FILE if bundle.run is not None else None,
        "verify_sha256": file_sha256(VERIFIER),
        "files": entries,
        "volumes": [],
    }


def _write(manifest: dict[str, Any], folder: Path, say: Say) -> None:
    path = folder / MANIFEST
    try:
        check_manifest(manifest)
    except ValueError as error:
        raise NeurolocalError(f"writing {path}: {error}; verify would refuse it. Change what is carried.") from error
    write_text(path, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", doing="writing")
    size = sum(entry["size"] for entry in manifest["files"])
    say(f"{path}: {len(manifest['files'])} files, {readable(size)}; its SHA-256 is {file_sha256(path)}")
