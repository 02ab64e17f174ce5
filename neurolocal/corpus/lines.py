"""Files of one JSON object a line: `.jsonl` and `.json`, each also `.gz` and `.zst`.

Invariant: a line that is too long is dropped while it is read; a truncated file is an error, never a shorter one.
Cost: memory for one line and what it holds, four times `longest_record` for one character beyond U+FFFF.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

from neurolocal.corpus.encodings import require_utf8
from neurolocal.corpus.record import Defect, FileReader, Record, Rules, record_of, too_long
from neurolocal.corpus.sizes import CorpusFile, bytes_of, require_uncut
from neurolocal.errors import CorpusError

NO_OBJECT = ("not JSON", "not a JSON object")
"""Why a line is no record."""

ENDLESS = 16
"""A line of over so many times the longest ends the run: compressed, 2 MB may hold 60 GB to be read and dropped."""

DROPPED = 1 << 24
"""Bytes read at once of a line that is too long."""


def lines_reader(unpack: Callable[[io.BufferedReader], io.BufferedReader]) -> FileReader:
    """What reads lines of JSON from a file that is unpacked so."""

    def read(path: CorpusFile, first: int, rules: Rules) -> Iterator[tuple[int, int, Record]]:
        with path.open("rb") as raw:
            file, size, number = unpack(raw), bytes_of(path), 0
            require_utf8(path, file)
            while line := _line(file, rules, where=f"{path}, record {number + 1}"):
                if isinstance(line, bytes) and not line.endswith(b"\n"):
                    require_uncut(path, size)
                if number >= first and (isinstance(line, int) or line.strip()):
                    found = too_long(line, rules) if isinstance(line, int) else _parse(line, rules)
                    line = b""  # its text may be as long, and stays until the next line is asked for
                    yield number, raw.tell(), found
                    del found
                number += 1
            require_uncut(path, size)

    return read


def _line(file: io.BufferedReader, rules: Rules, *, where: str) -> bytes | int:
    """The next line; of one that is too long its bytes, which are read and dropped; empty at the end."""
    line = file.readline(rules.longest + 1)
    if len(line) <= rules.longest:
        return line
    n = len(line)
    while not line.endswith(b"\n") and (line := file.readline(DROPPED)):
        n += len(line)
        if n > ENDLESS * rules.longest:
            raise CorpusError(
                f"reading {where}: a line of over {ENDLESS * rules.longest:,} bytes. "
                "Check that the file holds one JSON object a line; leave the file out of the corpus."
            )
    return n


def _parse(line: bytes, rules: Rules) -> Record:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Defect("not UTF-8", f"byte {error.start:,} of the line is {line[error.start : error.start + 1]!r}")
    except (ValueError, RecursionError):
        return Defect(NO_OBJECT[0], repr(line[:40])[2:-1])
    if not isinstance(value, dict):
        return Defect(NO_OBJECT[1], type(value).__name__)
    return record_of(value, rules)


def open_plain(raw: io.BufferedReader) -> io.BufferedReader:
    """A file that is not packed."""
    return raw


def open_gzip(raw: io.BufferedReader) -> io.BufferedReader:
    """The decompressed bytes of a `.gz` file."""
    return io.BufferedReader(gzip.GzipFile(fileobj=raw))  # type: ignore[arg-type]


def open_zstd(raw: io.BufferedReader) -> io.BufferedReader:
    """The decompressed bytes of a `.zst` file."""
    return io.BufferedReader(_ZstdStream(raw), 1 << 20)


class _ZstdStream(io.RawIOBase):
    """The decompressed bytes of a .zst file with any number of frames; an incomplete frame is an error.

    zstandard's own stream reader takes a file that is truncated inside a frame for a shorter one.
    """

    PIECE = 1 << 13
    """Compressed bytes read at a time; the format lets each expand to at most some 30,000."""

    def __init__(self, raw: io.BufferedReader) -> None:
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
