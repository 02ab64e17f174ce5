"""Files -> documents, one at a time, starting at any record.

Reads `.jsonl`, `.jsonl.gz`, `.jsonl.zst`, `.parquet`, `.txt`, a folder of them (in the order of their names), and a
data set saved by `datasets`. Invariant: the numbers of a document's file and record depend on the files alone, so a run
can resume at (file, record).
Cost: memory for one document; skipping to a record reads its file up to there without parsing it.
"""

from __future__ import annotations

import codecs
import gzip
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from neurolocal.corpus.conversations import FIELDS, Message, Render, RoleSpan, messages_of
from neurolocal.errors import CorpusError, first_line

LONGEST_LINE = 1 << 28
"""Most bytes of a line: 256 MiB; the Pile's longest document has some 40 MiB."""

LONGEST_NAME = 200
"""Most characters of a subset's name; the rest is cut off, since a hostile name may be as long as a line."""

TEXT_PIECE = 1 << 20
"""Most characters of a document from a .txt file, which is cut at white space: this bounds the memory."""


@dataclass(frozen=True)
class Document:
    """One text of the corpus."""

    text: str
    """The text, unchanged."""
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


@dataclass
class SkipCounts:
    """Records that gave no document, by reason, with the first of each reason."""

    counts: Counter[str] = field(default_factory=Counter)
    """Reason -> records."""
    first: dict[str, str] = field(default_factory=dict)
    """Reason -> `file, record n: what was found`."""
    replaced: Counter[str] = field(default_factory=Counter)
    """File -> characters of its documents that are U+FFFD: bytes that were no UTF-8, or were replaced before."""

    def add(self, reason: str, where: str) -> None:
        """Count one."""
        self.counts[reason] += 1
        self.first.setdefault(reason, where)


def documents(
    files: list[Path],
    *,
    file: int = 0,
    record: int = 0,
    text_field: str = "text",
    strict: bool = False,
    skipped: SkipCounts | None = None,
    render: Render | None = None,
    most: int | None = None,
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

    Raises:
        CorpusError: a broken record with `strict`; a file that is truncated or cannot be read.
    """
    skipped = skipped if skipped is not None else SkipCounts()
    sizes, left = [_bytes(path) for path in files], most
    for number in range(file, len(files)):
        if left == 0:
            return
        path, before = files[number], sum(sizes[:number])
        reader = _read_saved_dataset if path.is_dir() else reader_of(path) or _read_lines(_open_plain)
        first = record if number == file else 0
        try:
            if path.exists():
                _require_uncut(path, sizes[number])
            for i, at, found in itertools.islice(reader(path, first, text_field), left):
                left = None if left is None else left - 1
                where = f"{path}, record {i + 1}"
                if isinstance(found, Conversation):
                    found = _rendered(found, render)
                if isinstance(found, Defect):
                    if strict:
                        raise CorpusError(
                            f"reading {where}: {found.reason} (found: {found.found}). "
                            "Repair it, or omit --strict to skip it."
                        )
                    skipped.add(found.reason, f"{where}: {found.found}")
                    continue
                if lost := found[0].count("\ufffd"):
                    skipped.replaced[str(path)] += lost
                yield Document(found[0], found[1], number, i, roles=found[2], read=before + at)
        except (OSError, EOFError, ValueError, MemoryError) as error:
            raise CorpusError(
                f"reading the corpus {path}: {first_line(error)}. The file is missing, truncated or damaged; "
                "what was collected is kept, and the same command resumes when the file is complete."
            ) from error
        except Exception as error:
            if type(error).__module__.split(".")[0] not in {"zstandard", "pyarrow", "zlib", "datasets", "zstd"}:
                raise
            raise CorpusError(
                f"reading the corpus {path}: {first_line(error)}. The file is truncated or damaged; "
                "what was collected is kept, and the same command resumes when the file is complete."
            ) from error


@dataclass(frozen=True)
class Defect:
    """The reason why a record is no document, and what was found instead."""

    reason: str
    found: str


@dataclass(frozen=True)
class Conversation:
    """A record that holds messages instead of a text."""

    messages: list[Message]
    subset: str


Text = tuple[str, str, tuple[RoleSpan, ...]]
"""A document's text, its subset, and where its messages are."""

Record = Text | Conversation | Defect
FileReader = Callable[[Path, int, str], Iterator[tuple[int, int, Record]]]
"""(path, first record, text field) -> each record's number, the bytes of the file read so far, and the record."""


def corpus_bytes(files: list[Path]) -> int:
    """Size of the files on the disk, in bytes."""
    return sum(_bytes(path) for path in files)


def _bytes(path: Path) -> int:
    """Size of a file or folder; 0 where it is missing, which reading it then reports."""
    if path.is_dir():
        return corpus_bytes([f for f in path.rglob("*") if f.is_file()])
    return path.stat().st_size if path.is_file() else 0


def _require_uncut(path: Path, size: int) -> None:
    """Detect a file that is truncated while it is read: reading alone would take it for a shorter one.

    Raises:
        EOFError: it has fewer bytes than before.
    """
    if (now := _bytes(path)) < size:
        raise EOFError(f"it was cut from {size:,} to {now:,} bytes while it was read")


def reader_of(path: Path) -> FileReader | None:
    """What reads a file, by the end of its name; None where nothing does."""
    name = path.name.lower()
    for suffix, reader in _READERS.items():
        if name.endswith(suffix):
            return reader
    return None


def is_one_value(path: Path) -> bool:
    """Whether a `.json` file is one JSON value, as settings are, and not one object a line; by its first line."""
    reader = reader_of(path)
    if reader is None or not re.search(r"\.json(\.gz|\.zst)?$", path.name.lower()):
        return False
    try:
        first = next(reader(path, 0, ""), None)
    except Exception:  # what is wrong with the file is said when it is read
        return False
    return first is not None and isinstance(first[2], Defect) and first[2].reason in NO_OBJECT


def _read_lines(unpack: Callable[[io.BufferedReader], io.BufferedReader]) -> FileReader:
    def read(path: Path, first: int, text_field: str) -> Iterator[tuple[int, int, Record]]:
        with path.open("rb") as raw:
            file, size, number = unpack(raw), _bytes(path), 0
            _require_utf8(path, file)
            while line := file.readline(LONGEST_LINE + 1):
                if len(line) > LONGEST_LINE:
                    raise CorpusError(
                        f"reading {path}, record {number + 1}: a line of over {LONGEST_LINE:,} bytes. "
                        "That is no document; check that the file holds one JSON object a line."
                    )
                if not line.endswith(b"\n"):
                    _require_uncut(path, size)
                if number >= first and line.strip():
                    yield number, raw.tell(), _parse(line, text_field)
                number += 1
            _require_uncut(path, size)

    return read


NO_OBJECT = ("not JSON", "not a JSON object")
"""Why a line is no record."""


def _parse(line: bytes, text_field: str) -> Record:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Defect("not UTF-8", f"byte {error.start:,} of the line is {line[error.start : error.start + 1]!r}")
    except (ValueError, RecursionError):
        return Defect(NO_OBJECT[0], repr(line[:40])[2:-1])
    if not isinstance(value, dict):
        return Defect(NO_OBJECT[1], type(value).__name__)
    return _document(value, text_field)


def _document(value: dict[str, Any], text_field: str) -> Record:
    text = value.get(text_field)
    meta = value.get("meta")
    subset = meta.get("pile_set_name") if isinstance(meta, dict) else None
    subset = _clean(subset[:LONGEST_NAME]) if isinstance(subset, str) else ""
    if not isinstance(text, str):
        try:
            if messages := messages_of(value, text_field):
                return Conversation(messages, subset)
        except ValueError as error:
            return Defect("no conversation", str(error))
        kind = f"; {type(value[text_field]).__name__} in it" if text_field in value else ""
        return Defect(f'no text in the field "{text_field}"', _names(value) + kind)
    return _clean(text), subset, ()


def _rendered(found: Conversation, render: Render | None) -> Text | Defect:
    if render is None:
        return Defect("a conversation, and the subject has no chat template", f"{len(found.messages)} messages")
    try:
        text, places = render(found.messages)
    except ValueError as error:
        return Defect("a conversation that the chat template refuses", str(error))
    return _clean(text), found.subset, tuple(places)


def _clean(text: str) -> str:
    """The text with lone surrogates replaced: JSON allows them, tokenizers refuse them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _names(names: Iterable[Any]) -> str:
    """The first few names as one short line of ASCII."""
    return ", ".join(json.dumps(str(n)[:40]) for n in itertools.islice(names, 5)) or "nothing"


def _open_plain(raw: io.BufferedReader) -> io.BufferedReader:
    return raw


def _open_gzip(raw: io.BufferedReader) -> io.BufferedReader:
    return io.BufferedReader(gzip.GzipFile(fileobj=raw))  # type: ignore[arg-type]


def _open_zstd(raw: io.BufferedReader) -> io.BufferedReader:
    return io.BufferedReader(_ZstdStream(raw), 1 << 20)


class _ZstdStream(io.RawIOBase):
    """The decompressed bytes of a .zst file with any number of frames; an incomplete frame is an error.

    zstandard's own stream reader takes a file that is truncated inside a frame for a shorter one.
    """

    PIECE = 1 << 13
    """Compressed bytes read at a time; the format lets each expand to at most some 30,000."""

    def __init__(self, raw: BinaryIO) -> None:
        import zstandard

        self._raw, self._new = raw, zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj
        self._frame: Any = None
        self._text = memoryview(b"")

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`.

        Raises:
            EOFError: the file ends inside a frame.
        """
        while not self._text:
            packed = self._raw.read(self.PIECE)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the file ends in the middle of its zstd data")
                return 0
            pieces = []
            while packed:
                self._frame = self._frame or self._new()
                pieces.append(self._frame.decompress(packed))
                packed = self._frame.unused_data if self._frame.eof else b""
                self._frame = None if self._frame.eof else self._frame
            self._text = memoryview(b"".join(pieces))
        n = min(len(buffer), len(self._text))
        buffer[:n], self._text = self._text[:n], self._text[n:]
        return n


def _read_parquet(path: Path, first: int, text_field: str) -> Iterator[tuple[int, int, Record]]:
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(path) as table:
        names = table.schema_arrow.names
        wanted = _wanted(names, text_field)
        number, size, rows = 0, _bytes(path), max(1, table.metadata.num_rows)
        if wanted == META:
            yield 0, size, Defect(f'no column "{text_field}"', _names(names))
            return
        for batch in table.iter_batches(batch_size=256, columns=wanted):
            if number + batch.num_rows > first:
                for i, value in enumerate(batch.to_pylist()):
                    if number + i >= first:
                        yield number + i, size * (number + i + 1) // rows, _document(value, text_field)
            number += batch.num_rows


META = ["meta"]


def _wanted(names: list[str], text_field: str) -> list[str]:
    """The columns to read: the text, or the conversation where there is none, and `meta`; `META` alone is neither."""
    texts = [text_field] if text_field in names else [name for name in FIELDS if name in names]
    return [*texts, *[name for name in META if name in names or not texts]]


def _read_text(path: Path, first: int, text_field: str) -> Iterator[tuple[int, int, Record]]:
    with path.open("rb") as raw:
        encoding, size, number, rest = _encoding(raw), _bytes(path), 0, ""
        file = io.TextIOWrapper(raw, encoding=encoding, errors="replace")
        while piece := file.read(TEXT_PIECE):
            if len(piece) < TEXT_PIECE:
                _require_uncut(path, size)
            text = rest + piece
            cut = max(text.rfind("\n"), text.rfind(" ")) + 1
            text, rest = (text[:cut], text[cut:]) if cut and len(piece) == TEXT_PIECE else (text, "")
            if number >= first:
                yield number, raw.tell(), _plain_text(text)
            number += 1
        _require_uncut(path, size)
        if rest.strip() and number >= first:
            yield number, raw.tell(), _plain_text(rest)


MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks at the beginning of a text, and the encodings that they state; UTF-32's begins as UTF-16's does."""

BROKEN_SHARE = 0.01
"""Share of a document's characters that may be no UTF-8, or NUL; with more it is no text, and skipped."""


def _encoding(raw: BinaryIO) -> str:
    """The encoding that a file's first bytes state; UTF-8 where they state none."""
    begin = raw.read(4)
    raw.seek(0)
    return next((name for mark, name in MARKS.items() if begin.startswith(mark)), "utf-8")


def _require_utf8(path: Path, file: io.BufferedReader) -> None:
    """Refuse lines of JSON in another encoding, whose line ends cannot be found.

    Raises:
        CorpusError: a byte order mark of UTF-16 or UTF-32.
    """
    begin = file.peek(4)[:4]
    named = next((name for mark, name in MARKS.items() if begin.startswith(mark)), "utf-8")
    if not named.startswith("utf-8"):
        raise CorpusError(
            f"reading the corpus {path}: it is {named.upper()}, and lines of JSON are UTF-8. "
            f"Convert it: iconv -f {named.upper()} -t UTF-8 FILE > NEW."
        )


def _plain_text(text: str) -> Record:
    broken = text.count("\ufffd") + text.count("\0")
    if broken > BROKEN_SHARE * len(text):
        what = "no UTF-8" if "\ufffd" in text else "NUL, as in UTF-16 without its mark"
        return Defect("not UTF-8 text", f"{broken:,} of {len(text):,} characters are {what}")
    return text, "", ()


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder was saved by `datasets`."""
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def _read_saved_dataset(path: Path, first: int, text_field: str) -> Iterator[tuple[int, int, Record]]:
    size, begin = _bytes(path), 0
    parts = _saved_parts(path)
    rows = max(1, sum(map(len, parts)))
    for part in parts:
        wanted = _wanted(part.column_names, text_field)
        if wanted == META:
            if begin >= first:
                found = Defect(f'no column "{text_field}"', _names(part.column_names))
                yield begin, size * (begin + len(part)) // rows, found
        else:
            columns = part.select_columns(wanted)
            for i in range(max(0, first - begin), len(part)):
                yield begin + i, size * (begin + i + 1) // rows, _document(columns[i], text_field)
        begin += len(part)


def _saved_parts(path: Path) -> list[Any]:
    """A saved data set, or the parts of a saved dictionary of data sets in the order of their names.

    Raises:
        ValueError: it is damaged, for which `datasets` raises many types.
    """
    from datasets import DatasetDict, load_from_disk

    try:
        data = load_from_disk(str(path))
        parts = [data[name] for name in sorted(data)] if isinstance(data, DatasetDict) else [data]
        return [part.with_format(None) for part in parts]
    except Exception as error:
        raise ValueError(f"no whole data set ({first_line(error)})") from error


_READERS: dict[str, FileReader] = {
    ".jsonl": _read_lines(_open_plain),
    ".jsonl.gz": _read_lines(_open_gzip),
    ".jsonl.zst": _read_lines(_open_zstd),
    ".json": _read_lines(_open_plain),
    ".json.gz": _read_lines(_open_gzip),
    ".json.zst": _read_lines(_open_zstd),
    ".parquet": _read_parquet,
    ".txt": _read_text,
}


def kinds() -> str:
    """The kinds of files that can be read, in words."""
    return ", ".join(_READERS)
