"""Reading what all layers of a store share: the vocabulary, the token rows, their documents, and the sample.

Invariant: each function returns what FORMAT.md describes, or raises a StoreError that names the dataset at fault.
Cost: each reads its datasets whole; the token rows take 2 or 4 bytes a token in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from neurolocal.provenance import Parts
from neurolocal.records import Sample
from neurolocal.store.checked import CheckedFile
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


def read_token_rows(file: CheckedFile, *, n_rows: int, d_vocab: int) -> TokenRows:
    """All stored rows, padding included."""
    tokens = file.array("rows/tokens", None, ndim=2)
    if tokens.dtype.str[1:] not in ("u2", "u4"):
        raise file.bad("rows/tokens is no table of uint16 or uint32")
    if tokens.shape[0] != n_rows:
        raise file.bad(f"rows/tokens has {tokens.shape[0]} rows, rows/index {n_rows}")
    length = file.array("rows/length", "i8", shape=(n_rows,))
    if n_rows and not (length.min() > 0 and length.max() <= tokens.shape[1]):
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
    types = {"offsets": "i8", "position": "i4", "subset": "i4", "file": "i8", "record": "i8", "character": "i8"}
    columns: dict[str, Any] = {
        name: file.array(f"rows/parts/{name}", kind, ndim=1) for name, kind in types.items()
    }  # fmt: skip
    columns["subsets"] = file.texts("rows/parts", "subsets")
    try:
        parts = Parts.from_columns(columns)
    except ValueError as error:
        raise file.bad(str(error)) from error
    if len(parts) != n_rows:
        raise file.bad(f"rows/parts describes {len(parts)} rows, rows/index {n_rows}")
    return parts


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
