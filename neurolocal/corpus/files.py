"""Which files make a corpus: those of a known kind in a folder and below it, in the order of their paths.

The same at an address of other storage, or those that match a pattern there.

Links are followed, each folder once. Left out, and said: hidden files and folders (`.cache/`, `.ipynb_checkpoints/`),
files of other kinds, `.json` files that are not one object a line, and what stands beside a corpus without being one
(`README.txt`, `requirements.txt`).
Invariant: the list depends on the names in the folder, and on the first line of `.json` files. Cost: one walk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from neurolocal.config import sha256
from neurolocal.corpus.columns import STATED_BY, is_saved_dataset
from neurolocal.corpus.readers import is_one_value, kinds, reader_of
from neurolocal.corpus.sizes import CorpusFile
from neurolocal.errors import CorpusError
from neurolocal.storage import Address, StoredFile, located, stored_files

BESIDE = frozenset(
    ("readme", "license", "licence", "copying", "notice", "authors", "changelog", "requirements", "robots")
)
"""Names of .txt files in a folder that are about the corpus or its tools."""

SHOWN = 3
"""Names that are shown of each kind that was left out."""


class CorpusListing(NamedTuple):
    """The files of a corpus, and what was left out."""

    files: Sequence[CorpusFile]
    """In reading order; a saved data set counts as one file, its folder."""
    left: dict[str, list[str]]
    """Why -> paths below the corpus that were left out."""

    def line(self) -> str:
        """What was left out, as one line for the user; empty where nothing was."""
        parts = []
        for why, names in self.left.items():
            more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
            shown = [name if name.isprintable() else ascii(name) for name in names[:SHOWN]]
            parts.append(f"{why}: {', '.join(shown)}{more}")
        n = len(self.files)
        read = f"{n:,} files are read" if n != 1 else "1 file is read"
        return f"{read}; left out: {'; '.join(parts)}" if parts else ""


def corpus_files(corpus: str | Path | Address) -> Sequence[CorpusFile]:
    """The files of a corpus in reading order; see `corpus_listing`."""
    return corpus_listing(corpus).files


def corpus_listing(corpus: str | Path | Address) -> CorpusListing:
    """The files of a corpus: a file, a folder, or a data set saved by `datasets`; of this machine or at an address.

    Raises:
        CorpusError: no such path, no file of a kind that can be read, or a folder that cannot be read.
        StorageError: nothing is at the address, or its storage does not answer.
    """
    if isinstance(corpus, str):
        corpus = located(corpus, doing="reading the corpus", error=CorpusError)
    return _stored_listing(corpus) if isinstance(corpus, Address) else _listing(corpus)


def file_names(files: Sequence[CorpusFile], corpus: Path | Address) -> list[str]:
    """The names of a corpus's files, relative to it."""
    root = corpus if isinstance(corpus, Path) and corpus.is_dir() else Path(str(corpus)).parent
    return [file.relative if isinstance(file, StoredFile) else str(file.relative_to(root)) for file in files]


def _listing(path: Path) -> CorpusListing:
    if path.is_file():
        if reader_of(path) is None:
            raise CorpusError(f"reading the corpus {path}: unknown kind of file. Give one of {kinds()}, or a folder.")
        if is_one_value(path):
            raise CorpusError(
                f"reading the corpus {path}: it is JSON, but not one object a line. Convert a list of objects: "
                f"jq -c '.[]' {path.name} > corpus.jsonl."
            )
        return CorpusListing([path], {})
    if not path.is_dir():
        raise CorpusError(f"reading the corpus {path}: no such file or folder. Check the path.")
    if is_saved_dataset(path):
        return CorpusListing([path], {})
    files, left = list[Path](), dict[str, list[str]]()
    for found, why in _walk(path, {os.path.realpath(path)}):
        if why:
            left.setdefault(why, []).append(str(found.relative_to(path)))
        else:
            files.append(found)
    return _found(path, sorted(files), left)


def _found(corpus: Path | Address, files: Sequence[CorpusFile], left: dict[str, list[str]]) -> CorpusListing:
    """The listing of a folder; one without files is refused."""
    if not files:
        hint = f" (left out: {CorpusListing([], left).line().partition('left out: ')[2]})" if left else ""
        what = "the folder" if isinstance(corpus, Path) else "the address"
        raise CorpusError(f"reading the corpus {corpus}: {what} holds no {kinds()}{hint}. Check the path.")
    return CorpusListing(files, {why: sorted(names) for why, names in sorted(left.items())})


def _stored_listing(corpus: Address) -> CorpusListing:
    """The files at an address; what is left out is what would be left out of a folder of this machine."""
    found, elsewhere = stored_files(corpus)
    if any(file.relative in STATED_BY for file in found):
        size, contents = sum(file.size for file in found), [[file.relative, file.size, file.content] for file in found]
        return CorpusListing([StoredFile(corpus, ".", size, f"files {sha256(contents)}", tuple(found))], {})
    files, left = list[StoredFile](), dict[str, list[str]]()
    if elsewhere:
        left["names that lead elsewhere"] = elsewhere
    for file in found:
        parts = file.relative.split("/")
        why = "hidden" if any(part.startswith(".") for part in parts) else _why_left(file)
        if why:
            left.setdefault(why, []).append(file.relative)
        else:
            files.append(file)
    return _found(corpus, files, left)


def _walk(folder: Path, seen: set[str]) -> Iterator[tuple[Path, str]]:
    """Every file below a folder, and every folder not entered, with the reason to leave it out; empty: it is read."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise CorpusError(
            f"reading the corpus {folder}: {error.strerror}. Make the folder readable, or leave it out."
        ) from error
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            yield path, "hidden"
        elif path.is_dir():  # of an entry this raises for a ring of links
            real = os.path.realpath(path)
            if real in seen:
                yield path, "links to folders that are read already"
            else:
                seen.add(real)
                yield from _walk(path, seen)
        elif not path.is_file():
            yield path, "no plain files, or links to nothing"
        else:
            yield path, _why_left(path)


def _why_left(file: CorpusFile) -> str:
    """Why a file is left out, by its name, and of `.json` its first line; empty: it is read."""
    name = PurePath(file.name.lower())
    if reader_of(file) is None:
        return "of other kinds"
    if name.suffix == ".txt" and name.stem.partition(".")[0] in BESIDE:
        return "about the corpus"
    return "JSON, but not one object a line" if is_one_value(file) else ""
