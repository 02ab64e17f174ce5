"""Reading what all layers of a store share: the vocabulary, the token rows, their documents, and the sample.

Invariant: each function returns what FORMAT.md describes, or raises a StoreError that names the dataset at fault.
Cost: each reads its datasets whole, but for `read_token_rows` and `read_parts_between`, which read what they are asked
for; token rows take 2 or 4 bytes a token in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from neurolocal.provenance import Parts
from neurolocal.records import Sample
from neurolocal.store.checked import CheckedFile
from neurolocal.store.write_rows import PARTS
from neurolocal.words import Vocabulary


class TokenRows(NamedTuple):
    """The stored token rows, in the order of `rows/index`."""

    tokens: Integer[np.ndarray, "row pos"]
    """Token ids; entries at and after `length` are padding."""
    length: Int64[np.ndarray, "row"]
    """Tokens of each row that are no padding."""


def read_vocabulary(file: CheckedFile) -> Vocabulary:
    """The bytes of every token id."""
    tokens = file.blobs(file.root, "tokenizer/tokens")
    special = file.array("tokenizer/special", "u1", shape=(len(tokens),))
    return Vocabulary(tokens, special.astype(bool))


def read_row_index(file: CheckedFile) -> Int64[np.ndarray, "row"]:
    """The row index in the corpus of each stored row, ascending."""
    index = file.array("rows/index", "i8", ndim=1)
    if (index[:1] < 0).any() or (index[1:] <= index[:-1]).any():
        raise file.bad("rows/index does not ascend from 0 or more")
    return index


def read_token_rows(file: CheckedFile, *, n_rows: int, d_vocab: int, rows: slice) -> TokenRows:
    """The stored rows of a slice, padding included.

    Args:
        file: the store.
        n_rows: rows that it holds.
        d_vocab: token ids.
        rows: which of them.
    """
    stored, lengths = file.dataset("rows/tokens", None, 2), file.dataset("rows/length", "i8", 1)
    if stored.dtype.str[1:] not in ("u2", "u4"):
        raise file.bad("rows/tokens is no table of uint16 or uint32")
    if stored.shape[0] != n_rows:
        raise file.bad(f"rows/tokens has {stored.shape[0]} rows, rows/index {n_rows}")
    if lengths.shape != (n_rows,):
        raise file.bad(f"rows/length has the shape {lengths.shape}, expected {(n_rows,)}")
    with file.reading("rows/tokens"):
        tokens: Any = stored[rows]
    with file.reading("rows/length"):
        length: Any = lengths[rows]
    if length.size and not (length.min() > 0 and length.max() <= tokens.shape[1]):
        raise file.bad("rows/length is outside the rows")
    if tokens.size and tokens.max() >= d_vocab:
        raise file.bad(f"rows/tokens holds id {tokens.max()}, the vocabulary {d_vocab} tokens")
    return TokenRows(tokens, length)


def require_rows(
    file: CheckedFile,
    index: Int64[np.ndarray, "row"],
    at: Int64[np.ndarray, "*n"],
    rows: Int64[np.ndarray, "*n"],
) -> None:
    """Check that the rows of these numbers are stored at these places.

    Raises:
        StoreError: one of them is not.
    """
    wrong = rows[(at >= len(index)) | (index[np.minimum(at, len(index) - 1)] != rows)] if len(index) else rows
    if wrong.size:
        raise file.bad(f"an example refers to row {wrong.flat[0]}, which is not in rows/index")


def read_parts(file: CheckedFile, *, n_rows: int) -> Parts:
    """Which documents the stored rows are made of, in the order of `rows/index`."""
    columns: dict[str, Any] = {name: file.array(f"rows/parts/{name}", kind, ndim=1) for name, kind in PARTS.items()}
    columns["offsets"] = file.array("rows/parts/offsets", "i8", ndim=1)
    parts = _parts(file, columns, file.texts("rows/parts", "subsets"))
    if len(parts) != n_rows:
        raise file.bad(f"rows/parts describes {len(parts)} rows, rows/index {n_rows}")
    return parts


def read_parts_between(file: CheckedFile, start: int, stop: int) -> Parts:
    """The same for the stored rows of a range; only theirs are read."""
    stored = file.dataset("rows/parts/offsets", "i8", 1)
    columns, names = dict[str, Any](), file.texts("rows/parts", "subsets")
    with file.reading("rows/parts/offsets"):
        offsets: Any = stored[start : stop + 1]
    if len(offsets) != stop - start + 1 or not 0 <= offsets[0] <= offsets[-1]:
        raise file.bad("rows/parts/offsets does not count the parts of each row")
    columns["offsets"] = offsets - offsets[0]
    for name, kind in PARTS.items():
        column = file.dataset(f"rows/parts/{name}", kind, 1)
        with file.reading(f"rows/parts/{name}"):
            columns[name] = column[offsets[0] : offsets[-1]]
    subset = columns["subset"]
    if subset.size and not 0 <= subset.min() <= subset.max() < len(names):
        raise file.bad("rows/parts/subset names a subset that there is not")
    used, columns["subset"] = np.unique(subset, return_inverse=True)
    columns["subset"] = columns["subset"].astype(np.int32)
    return _parts(file, columns, [names[i] for i in used.tolist()])


def _parts(file: CheckedFile, columns: dict[str, Any], names: list[str]) -> Parts:
    try:
        return Parts.from_columns(columns | {"subsets": names})
    except ValueError as error:
        raise file.bad(str(error)) from error


def read_sample(file: CheckedFile) -> Sample:
    """The positions drawn at random, the same for all neurons."""
    row = file.array("sample/row", "i8", ndim=1)
    position = file.array("sample/position", "i4", shape=row.shape)
    same = row[1:] == row[:-1]
    ascending = (row[1:] > row[:-1]) | (same & (position[1:] > position[:-1]))
    if not ascending.all() or (row[:1] < 0).any() or (position < 0).any():
        raise file.bad("sample is not in order")
    return Sample(row, position)


def read_rest(file: CheckedFile) -> dict[str, Any]:
    """What an interrupted collection resumes with: the columns of `neurolocal.corpus.rest_arrays`, or {}."""
    if not file.has("resume"):
        return {}
    types = {"tokens": "u4", "character": "i8", "offsets": "i8", "file": "i8", "record": "i8"}
    columns: dict[str, Any] = {name: file.array(f"resume/{name}", kind, ndim=1) for name, kind in types.items()}
    return columns | {"subset": file.texts("resume", "subset")}
