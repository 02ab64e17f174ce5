"""Which files make a corpus: those of a known kind in a folder and below it, in the order of their paths.

Links are followed, each folder once. Left out, and said: hidden files and folders (`.cache/`, `.ipynb_checkpoints/`),
files of other kinds, `.json` files that are not one object a line, and what stands beside a corpus without being one
(`README.txt`, `requirements.txt`).
Invariant: the list depends on the names in the folder, and on the first line of `.json` files. Cost: one walk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from neurolocal.corpus.columns import is_saved_dataset
from neurolocal.corpus.readers import is_one_value, kinds, reader_of
from neurolocal.errors import CorpusError

BESIDE = frozenset(
    ("readme", "license", "licence", "copying", "notice", "authors", "changelog", "requirements", "robots")
)
"""Names of .txt files in a folder that are about the corpus or its tools."""

SHOWN = 3
"""Names that are shown of each kind that was left out."""


class CorpusListing(NamedTuple):
    """The files of a corpus, and what was left out."""

    files: list[Path]
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


def corpus_files(corpus: str | Path) -> list[Path]:
    """The files of a corpus in reading order; see `corpus_listing`."""
    return corpus_listing(corpus).files


def corpus_listing(corpus: str | Path) -> CorpusListing:
    """The files of a corpus: a file, a folder, or a data set saved by `datasets`.

    Raises:
        CorpusError: no such path, no file of a kind that can be read, or a folder that cannot be read.
    """
    path = Path(corpus)
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
    if not files:
        hint = f" (left out: {CorpusListing([], left).line().partition('left out: ')[2]})" if left else ""
        raise CorpusError(f"reading the corpus {path}: the folder holds no {kinds()}{hint}. Check the path.")
    return CorpusListing(sorted(files), {why: sorted(names) for why, names in sorted(left.items())})


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
        elif reader_of(path) is None:
            yield path, "of other kinds"
        elif path.suffix.lower() == ".txt" and path.stem.lower().partition(".")[0] in BESIDE:
            yield path, "about the corpus"
        elif is_one_value(path):
            yield path, "JSON, but not one object a line"
        else:
            yield path, ""
