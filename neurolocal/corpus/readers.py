"""Files -> documents, one at a time, starting at any record.

Reads `.jsonl`, `.jsonl.gz`, `.jsonl.zst`, `.parquet`, `.txt`, a folder of them (in the order of their names), and a
data set saved by `datasets`. Invariant: the numbers of a document's file and record depend on the files alone, so a run
can resume at (file, record).
Cost: memory for one document; skipping to a record reads its file up to there without parsing it.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from neurolocal.corpus.columns import read_parquet, read_saved_dataset
from neurolocal.corpus.conversations import Render, RoleSpan
from neurolocal.corpus.encodings import read_text
from neurolocal.corpus.lines import NO_OBJECT, lines_reader, open_gzip, open_plain, open_zstd
from neurolocal.corpus.record import Conversation, Defect, FileReader, Record, Rules, TokenIds, rendered
from neurolocal.corpus.sizes import CorpusFile, bytes_of, require_uncut
from neurolocal.errors import CorpusError, first_line

LONGEST_RECORD = 1 << 28
"""Most bytes of a record, where the settings say nothing: 256 MiB; the Pile's longest document has some 40 MiB."""


@dataclass(frozen=True)
class Document:
    """One text of the corpus."""

    text: str
    """The text, unchanged; empty where the record holds token ids."""
    subset: str
    """`meta.pile_set_name` where there is one, else empty."""
    file: int
    """Number of its file."""
    record: int
    """Number of its record (line, table row or piece) in the file; broken records are counted too."""
    roles: tuple[RoleSpan, ...] = ()
    """Of a conversation: where its messages are, ascending."""
    read: int = 0
    """Bytes of the corpus's files on the disk that were read so far, for an estimate of the time left."""
    tokens: Int32[np.ndarray, "n"] | None = field(default=None, compare=False)
    """The token ids, where the record holds these instead of a text."""

    @property
    def size(self) -> int:
        """Characters of the text, or token ids."""
        return len(self.text) if self.tokens is None else len(self.tokens)


@dataclass
class SkipCounts:
    """Records that gave no document, by reason, with the first of each reason."""

    counts: Counter[str] = field(default_factory=Counter)
    """Reason -> records."""
    first: dict[str, str] = field(default_factory=dict)
    """Reason -> `file, record n: what was found`."""
    replaced: Counter[str] = field(default_factory=Counter)
    """File -> characters of its documents that are U+FFFD: bytes that were no UTF-8, or were replaced before."""

    cut: Counter[str] = field(default_factory=Counter)
    """File -> places at which its documents were cut because they are longer than `longest_text`."""

    def add(self, reason: str, where: str) -> None:
        """Count one."""
        self.counts[reason] += 1
        self.first.setdefault(reason, where)


def documents(
    files: Sequence[CorpusFile],
    *,
    file: int = 0,
    record: int = 0,
    text_field: str = "text",
    strict: bool = False,
    skipped: SkipCounts | None = None,
    render: Render | None = None,
    most: int | None = None,
    longest: int = LONGEST_RECORD,
    d_vocab: int | None = None,
) -> Iterator[Document]:
    """Every document from a record on.

    Args:
        files: from `corpus_files`.
        file: number of the first file to read.
        record: first record of that file.
        text_field: field or column that holds the text.
        strict: whether a broken record raises; otherwise it is counted in `skipped`.
        skipped: receives the records skipped, as they are met.
        render: writes a conversation as one text; without it, conversations are skipped.
        most: records to read at most, of all files together; None is all.
        longest: most bytes of a record; a longer one is broken.
        d_vocab: token ids that the subject has; None takes any.

    Raises:
        CorpusError: a broken record with `strict`; a token id that the subject does not have; a file that is truncated
            or cannot be read.
    """
    skipped = skipped if skipped is not None else SkipCounts()
    sizes, left, rules = [bytes_of(path) for path in files], most, Rules(text_field, longest, d_vocab)
    for number in range(file, len(files)):
        if left == 0:
            return
        path, before = files[number], sum(sizes[:number])
        reader = read_saved_dataset if path.is_dir() else reader_of(path) or lines_reader(open_plain)
        first = record if number == file else 0
        try:
            if isinstance(path, Path) and path.exists():
                require_uncut(path, sizes[number])
            for i, at, found in itertools.islice(reader(path, first, rules), left):
                left = None if left is None else left - 1
                if document := _document(found, (number, i, before + at), path, strict, skipped, render):
                    del found  # the longest is held by one name alone
                    yield document
                    del document
        except (OSError, EOFError, ValueError, MemoryError) as error:
            raise CorpusError(
                f"reading the corpus {path}: {first_line(error)}. The file is missing, truncated or damaged; "
                "what was collected is kept, and the same command resumes when the file is complete."
            ) from error
        except Exception as error:
            if type(error).__module__.split(".")[0] not in {"zstandard", "pyarrow", "zlib", "zstd"}:
                raise
            raise CorpusError(
                f"reading the corpus {path}: {first_line(error)}. The file is truncated or damaged; "
                "what was collected is kept, and the same command resumes when the file is complete."
            ) from error


def _document(
    found: Record, at: tuple[int, int, int], path: CorpusFile, strict: bool, skipped: SkipCounts, render: Render | None
) -> Document | None:
    """A record as a document; None where it is none, which is counted, or raised with `strict`.

    `at`: number of its file, number in its file, and the bytes of the corpus read so far.
    """
    file, record, read = at
    if isinstance(found, Conversation):
        found = rendered(found, render)
    where = f"{path}, record {record + 1}"
    if isinstance(found, Defect):
        if strict:
            raise CorpusError(
                f"reading {where}: {found.reason} (found: {found.found}). Repair it, or omit --strict to skip it."
            )
        skipped.add(found.reason, f"{where}: {found.found}")
        return None
    if isinstance(found, TokenIds):
        return Document("", found.subset, file, record, read=read, tokens=found.tokens)
    text, subset, roles = found
    if lost := text.count("\ufffd"):
        skipped.replaced[str(path)] += lost
    return Document(text, subset, file, record, roles=roles, read=read)


def reader_of(path: CorpusFile) -> FileReader | None:
    """What reads a file, by the end of its name; None where nothing does."""
    name = path.name.lower()
    for suffix, reader in _READERS.items():
        if name.endswith(suffix):
            return reader
    return None


def is_one_value(path: CorpusFile) -> bool:
    """Whether a `.json` file is one JSON value, as settings are, and not one object a line; by its first line."""
    reader = reader_of(path)
    if reader is None or not re.search(r"\.json(\.gz|\.zst)?$", path.name.lower()):
        return False
    try:
        first = next(reader(path, 0, Rules("", LONGEST_RECORD)), None)
    except Exception:  # what is wrong with the file is said when it is read
        return False
    return first is not None and isinstance(first[2], Defect) and first[2].reason in NO_OBJECT


_READERS: dict[str, FileReader] = {
    ".jsonl": lines_reader(open_plain),
    ".jsonl.gz": lines_reader(open_gzip),
    ".jsonl.zst": lines_reader(open_zstd),
    ".json": lines_reader(open_plain),
    ".json.gz": lines_reader(open_gzip),
    ".json.zst": lines_reader(open_zstd),
    ".parquet": read_parquet,
    ".txt": read_text,
}


def kinds() -> str:
    """The kinds of files that can be read, in words."""
    return ", ".join(_READERS)
