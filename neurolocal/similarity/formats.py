"""Vector files -> words and a matrix: GloVe and word2vec text, word2vec binary, fastText binary, each also as .gz.

Invariant: sizes in a header are checked against the data before memory is allocated for them; pickles are never opened;
every fault is an error that names the line or entry; entries that are left out are counted and reported.
Formats: text and binary of Google's word2vec (`distance.c`), GloVe's `vectors.txt`, and fastText's
`FastText::saveModel` (magic 793712314, versions 11 and 12). Cost: one pass; memory is that of the matrix, and for text
files twice that.
"""

from __future__ import annotations

import codecs
import gzip
import itertools
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from neurolocal.errors import VectorsError
from neurolocal.progress import Bar

FASTTEXT_MAGIC = struct.pack("<i", 793712314)
LINE = 1 << 22
"""Most bytes of a line (300,000 numbers). It limits memory for files without line ends, such as compressed zeros."""
LONGEST_WORD, LONGEST_NGRAM = 1 << 12, 64
"""Most bytes of a word and most characters of an n-gram in a fastText model (its own default is 6): a word has as many
n-grams as the product, each of which is made."""
COMPARED = 100
"""Lines whose numbers are counted to tell how many dimensions a text file has."""
FOREIGN = {
    codecs.BOM_UTF16_LE: "UTF-16 text: convert it (iconv -f UTF-16 -t UTF-8)",
    codecs.BOM_UTF16_BE: "UTF-16 text: convert it (iconv -f UTF-16 -t UTF-8)",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"BZh": "a bzip2 file: unpack it first",
    b"\xfd7zXZ": "an xz file: unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstandard file: unpack it first",
    b"\x93NUMPY": "a numpy array without words: export the vectors as word2vec text",
    b"PAR1": "a parquet table: export the vectors as word2vec text",
    b"\x89HDF": "an HDF5 file: export the vectors as word2vec text",
    b"GGUF": "a language model: pass word vectors",
}


class RawVectors(NamedTuple):
    """The contents of a vector file."""

    words: list[str | None]
    """In file order, which is most frequent first; None where the bytes are not UTF-8."""
    matrix: Float32[np.ndarray, "word d"]
    """Not normalised. For fastText each word's own vector, without its n-grams."""
    ngrams: Float32[np.ndarray, "bucket d"] | None
    """fastText's n-gram buckets; None for other formats, or where the file has none."""
    minn: int
    """Shortest n-gram in characters."""
    maxn: int
    """Longest n-gram in characters."""
    notes: tuple[str, ...]
    """Remarks for the reader of a report."""


def read_vectors(path: Path, *, progress: bool = False) -> RawVectors:
    """Read a vector file of any known format, detected from its first bytes (and `.bin` in its name).

    Raises:
        VectorsError: the file is missing, damaged, or of a format that is not supported.
    """
    try:
        with path.open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as stream:
            start = stream.read(1 << 16)
            stream.seek(0)
            return _read(stream, start, path, progress=progress)
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise _broken(path, f"its gzip data is damaged or cut short ({e})") from e
    except OSError as e:
        raise VectorsError(f"cannot read vectors {path}: {e.strerror or e}. Pass a file, or: glove, corpus.") from e


def _read(stream: BufferedIOBase, start: bytes, path: Path, *, progress: bool) -> RawVectors:
    if not start.strip():
        raise _broken(path, "the file is empty")
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        raise VectorsError(
            f"cannot read vectors {path}: it is a pickle (gensim's .save), which can run code when loaded. Export it: "
            "kv.save_word2vec_format('v.bin', binary=True), or gensim.models.fasttext.save_facebook_model(model, "
            "'v.bin')."
        )
    for magic, what in FOREIGN.items():
        if start.startswith(magic):
            raise VectorsError(f"cannot read vectors {path}: it is {what}.")
    if start.startswith(FASTTEXT_MAGIC):
        return _fasttext(stream, path)
    if _header(start.split(b"\n", 1)[0]) and _binary(start, path):
        return _word2vec_binary(stream, path, progress=progress)
    if b"\0" in start[:4096]:
        raise _broken(
            path,
            "it is binary and begins like neither word2vec nor fastText (a fastText model of 2016 has no magic)",
        )
    return _text(stream, path, progress=progress)


def _header(line: bytes) -> tuple[int, int] | None:
    fields = line.split()
    if len(fields) != 2 or not all(f.isdigit() and len(f) < 16 for f in fields):
        return None
    return int(fields[0]), int(fields[1])


def _binary(start: bytes, path: Path) -> bool:
    # 4 kB of float32 contain control characters almost surely; a short file may contain none, so the name counts too.
    body = start.split(b"\n", 1)[-1][:4096]
    return path.name.removesuffix(".gz").endswith(".bin") or any(b < 9 or 13 < b < 32 for b in body)


def _text(stream: BufferedIOBase, path: Path, *, progress: bool) -> RawVectors:
    marked = len(codecs.BOM_UTF8) if stream.read(3) == codecs.BOM_UTF8 else 0
    stream.seek(marked)
    first = stream.readline(LINE)
    claimed, dim = _header(first) or (None, len(first.split()) - 1)
    dim = _dimensions(first, [line for line in itertools.islice(_lines(stream), COMPARED) if line.strip()], dim, path)
    stream.seek(marked + (0 if claimed is None else len(first)))
    if not 1 <= dim <= LINE:
        raise _broken(path, "line 1 contains no vector (expected a word and numbers, or a header: words dimensions)")
    words: list[str | None] = []
    rows: list[np.ndarray] = []
    number, line = (1 if claimed is not None else 0), b"\n"
    for line in Bar(_lines(stream), desc=f"reading {path.name}", unit="word", total=claimed, disable=not progress):
        number += 1
        # Split from the right: a word of GloVe 840B may contain spaces. fastText ends each line with a space.
        word, *fields = line.rstrip(b" \r\n").rsplit(b" ", dim)
        if len(fields) != dim:
            raise _broken(
                path, f"line {number} contains {line.count(b' ')} numbers, not {dim}: the file is cut or damaged"
            )
        try:
            with np.errstate(over="ignore"):
                row = np.array(fields, dtype=np.float32)
        except ValueError as e:
            raise _broken(path, f"line {number} contains something that is not a number ({_shown(fields, e)})") from e
        if not np.isfinite(row).all():
            raise _broken(path, f"line {number} contains NaN, or a number beyond float32")
        words.append(_decoded(word))
        rows.append(row)
    if claimed is not None and claimed != len(words):
        raise _broken(path, f"its header states {claimed} words and it has {len(words)} (line {number} is the last)")
    if not words:
        raise _broken(path, "it contains a header and no vector")
    cut = () if line.endswith(b"\n") else (f"{path.name} ends without a line end: its last number may be incomplete",)
    return RawVectors(words, np.stack(rows), None, 0, 0, cut)


def _dimensions(first: bytes, others: list[bytes], dim: int, path: Path) -> int:
    """The dimensions of a text file whose first line states `dim`: a word may hold spaces, so it may be fewer.

    Raises:
        VectorsError: the lines after it hold other numbers of numbers, most of them more.
    """
    counts = Counter(sum(1 for _ in itertools.takewhile(_is_number, line.split()[:0:-1])) for line in others)
    most, n = counts.most_common(1)[0] if counts else (dim, 0)
    if most in (0, dim) or 2 * n <= len(others):
        return dim
    shown, after = first[:40].decode("utf-8", "replace").strip(), f"the lines after it hold {most} numbers each"
    if _header(first):
        raise _broken(path, f"line 1 ({shown!r}) states {dim} dimensions, and {after}")
    if all(map(_is_number, first.split())):
        raise _broken(
            path,
            f"line 1 ({shown!r}) is {dim + 1} numbers, and {after}; expected a header of two numbers (words "
            "dimensions), or none",
        )
    if dim < most:
        raise _broken(path, f"line 1 ({shown!r}) holds {dim} numbers, and {after}: it is cut")
    return most


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _lines(stream: BufferedIOBase) -> Iterator[bytes]:
    while line := stream.readline(LINE):
        yield line


def _shown(fields: list[bytes], error: ValueError) -> str:
    wrong = next((field for field in fields if not _is_number(field)), None)
    return str(error) if wrong is None else repr(wrong[:20].decode("utf-8", "replace"))


def _word2vec_binary(stream: BufferedIOBase, path: Path, *, progress: bool) -> RawVectors:
    claimed, dim = _header(stream.readline(LINE)) or (0, 0)
    if not 1 <= dim <= LINE // 4:
        raise _broken(path, f"its header states {dim} dimensions")
    words: list[str | None] = []
    rows: list[np.ndarray] = []
    for entry in Bar(range(claimed), desc=f"reading {path.name}", unit="word", disable=not progress):
        word = bytearray()
        while (byte := stream.read(1)) not in (b" ", b""):
            word += byte
            if len(word) > LINE:
                raise _broken(path, f"entry {entry + 1} has a word without end")
        values = stream.read(4 * dim)
        if len(values) < 4 * dim:
            raise _broken(path, f"cut short at entry {entry + 1} of the {claimed} that its header states")
        row = np.frombuffer(values, "<f4")
        if not np.isfinite(row).all():
            raise _broken(path, f"entry {entry + 1} contains NaN or infinity")
        words.append(_decoded(bytes(word).lstrip(b"\n")))
        rows.append(row)
    if stream.read(64).strip():
        raise _broken(path, f"its header states {claimed} words and more follow")
    if not words:
        raise _broken(path, "it contains a header and no vector")
    return RawVectors(words, np.stack(rows).astype(np.float32, copy=False), None, 0, 0, ())


def _fasttext(stream: BufferedIOBase, path: Path) -> RawVectors:
    head = struct.unpack("<14id", _exactly(stream, 64, path, "its header"))
    version, dim, bucket, minn, maxn = head[1], head[2], head[10], head[11], head[12]
    size, n_words, n_labels = struct.unpack("<3i", _exactly(stream, 12, path, "its header"))
    _n_tokens, pruned = struct.unpack("<2q", _exactly(stream, 16, path, "its header"))
    if version not in (11, 12) or n_labels or pruned >= 0 or size != n_words or dim < 1 or bucket < 0:
        raise VectorsError(
            f"cannot read vectors {path}: version {version}, {n_labels} labels, pruned {pruned}; expected 11 or 12, "
            "unsupervised and unpruned, of a fastText model. Export its vectors as .vec text."
        )
    if not 0 <= minn <= max(maxn, minn) <= LONGEST_NGRAM:
        raise _broken(path, f"n-grams of {minn} to {maxn} characters, expected 0 to {LONGEST_NGRAM}")
    words: list[str | None] = []
    for entry in range(size):
        word = bytearray()
        while (byte := _exactly(stream, 1, path, f"dictionary entry {entry + 1} of {size}")) != b"\x00":
            word += byte
            if len(word) > LONGEST_WORD:
                raise _broken(path, f"dictionary entry {entry + 1} has a word without end")
        _exactly(stream, 9, path, f"dictionary entry {entry + 1} of {size}")
        words.append(_decoded(bytes(word)))
    if _exactly(stream, 1, path, "its matrix") != b"\x00":
        raise VectorsError(f"cannot read vectors {path}: a quantised fastText model. Pass the .bin it was made from.")
    rows, columns = struct.unpack("<2q", _exactly(stream, 16, path, "its matrix"))
    if columns != dim or rows not in (size, size + bucket) or not words:
        raise _broken(path, f"its matrix is {rows} x {columns}, expected {size} + {bucket} x {dim}")
    values = _much(stream, 4 * rows * dim)
    if len(values) < 4 * rows * dim:
        raise _broken(path, f"cut short in its matrix ({len(values)} bytes of {4 * rows * dim})")
    matrix = np.frombuffer(values, "<f4").reshape(rows, dim)
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise _broken(path, f"row {int(np.argmin(finite)) + 1} of its matrix contains NaN or infinity")
    ngrams = matrix[size:] if rows > size and maxn > 0 else None
    return RawVectors(words, matrix[:size], ngrams, minn, maxn, ())


def _exactly(stream: BufferedIOBase, n: int, path: Path, where: str) -> bytes:
    data = stream.read(n)
    if len(data) < n:
        raise _broken(path, f"cut short in {where}")
    return data


def _much(stream: BufferedIOBase, n: int) -> bytearray:
    # In pieces: read(n) allocates n bytes before it reads any.
    data = bytearray()
    while len(data) < n and (piece := stream.read(min(n - len(data), 1 << 24))):
        data += piece
    return data


def _decoded(word: bytes) -> str | None:
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _broken(path: Path, what: str) -> VectorsError:
    return VectorsError(f"cannot read vectors {path}: {what}. Expected word vectors; fetch or export the file again.")
