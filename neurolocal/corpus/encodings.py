"""Encodings of text files, and `.txt` files: a text that is cut into pieces at white space.

Invariant: a byte order mark is obeyed; what is no text of its encoding is skipped, not read as something else.
Cost: memory for two pieces.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator

from neurolocal.corpus.record import Defect, Record, Rules
from neurolocal.corpus.sizes import CorpusFile, bytes_of, require_uncut
from neurolocal.errors import CorpusError

TEXT_PIECE = 1 << 20
"""Most characters of a document from a .txt file, which is cut at white space: this bounds the memory."""

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


def read_text(path: CorpusFile, first: int, rules: Rules) -> Iterator[tuple[int, int, Record]]:
    """The pieces of a `.txt` file; see `FileReader`."""
    with path.open("rb") as raw:
        encoding, size, number, rest = _encoding(raw), bytes_of(path), 0, ""
        file = io.TextIOWrapper(raw, encoding=encoding, errors="replace")
        while piece := file.read(TEXT_PIECE):
            if len(piece) < TEXT_PIECE:
                require_uncut(path, size)
            text = rest + piece
            cut = max(text.rfind("\n"), text.rfind(" ")) + 1
            text, rest = (text[:cut], text[cut:]) if cut and len(piece) == TEXT_PIECE else (text, "")
            if number >= first:
                yield number, raw.tell(), _plain_text(text)
            number += 1
        require_uncut(path, size)
        if rest.strip() and number >= first:
            yield number, raw.tell(), _plain_text(rest)


def _plain_text(text: str) -> Record:
    broken = text.count("\ufffd") + text.count("\0")
    if broken > BROKEN_SHARE * len(text):
        what = "no UTF-8" if "\ufffd" in text else "NUL, as in UTF-16 without its mark"
        return Defect("not UTF-8 text", f"{broken:,} of {len(text):,} characters are {what}")
    return text, "", ()


def _encoding(raw: io.BufferedReader) -> str:
    """The encoding that a file's first bytes state; UTF-8 where they state none."""
    begin = raw.read(4)
    raw.seek(0)
    return next((name for mark, name in MARKS.items() if begin.startswith(mark)), "utf-8")


def require_utf8(path: CorpusFile, file: io.BufferedReader) -> None:
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
