"""Tables that hold token ids instead of texts: a column `input_ids` or `tokens`, a list of integers a row.

Invariant: a row's ids are its document's ids, unchanged; one that the subject does not have ends the run, and is named.
Cost: a few operations of numpy a batch, and a view a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32, Int64

from neurolocal.corpus.record import LONGEST_NAME, Defect, Rules, TokenIds, clean, too_long
from neurolocal.corpus.sizes import CorpusFile
from neurolocal.errors import CorpusError

ID_COLUMNS = ("input_ids", "tokens")
"""Where data sets keep token ids, in the order in which they are looked for."""

ID_ROWS = 1 << 12
"""Most rows decoded at once."""

ANY = 1 << 31
"""Ids are below it, where it is not known how many the subject has."""

DENSE = 64
"""Ids that take so many times their bytes in the file are decoded a row at a time: a few bytes may repeat one id for
ever, and the rows of a group need not be of one length."""


def holds_ids(schema: Any, name: str) -> bool:
    """Whether a table has one column of this name, and it is one of lists of integers."""
    import pyarrow as pa

    if (at := schema.get_field_index(name)) < 0:
        return False
    kind = schema.field(at).type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return lists and pa.types.is_integer(kind.value_type)


def ids_batch_rows(group: Any, column: str, most: int) -> int:
    """Rows of a parquet file's row group to decode at once, of at most so many bytes by their average."""
    chunks = [group.column(i) for i in range(group.num_columns)]
    size, packed = 1, 1
    for chunk in chunks:
        if chunk.path_in_schema.split(".")[0] == column:
            size, packed = max(1, 8 * chunk.num_values), max(1, chunk.total_compressed_size)
    return 1 if size > most and size > DENSE * packed else max(1, min(ID_ROWS, most * group.num_rows // size))


def id_records(
    column: Any, subsets: Sequence[str | None], rules: Rules, *, path: CorpusFile, number: int
) -> Iterator[TokenIds | Defect]:
    """The rows of a column of ids.

    Args:
        column: an Arrow array of lists of integers.
        subsets: each row's subset.
        rules: what is taken for a document.
        path: the file, for messages.
        number: the number of the first row in the file.

    Raises:
        CorpusError: at the row with an id that the subject does not have, or without a value in the place of an id.
    """
    valid, sizes, values = np.asarray(column.is_valid()), _sizes(column), column.flatten()
    ids, wrong = _as_int32(values, rules.d_vocab)
    ends = np.cumsum(sizes)
    for i, (n, end) in enumerate(zip(sizes.tolist(), ends.tolist(), strict=True)):
        if 4 * n > rules.longest:
            yield too_long(4 * n, rules)
        elif not valid[i]:
            yield Defect("no token ids", "null")
        elif wrong is not None and wrong[end - n : end].any():
            at = int(wrong[end - n : end].argmax())
            raise _refusal(values[end - n + at].as_py(), at, rules, where=f"{path}, record {number + i + 1}")
        else:
            yield TokenIds(ids[end - n : end], clean((subsets[i] or "")[:LONGEST_NAME]))


def _sizes(column: Any) -> Int64[np.ndarray, "row"]:
    """Ids of each row; none where the row is null."""
    import pyarrow.compute as compute

    lengths = compute.call_function("list_value_length", [column])
    return np.asarray(lengths.fill_null(0), dtype=np.int64)


def _as_int32(
    values: Any, d_vocab: int | None
) -> tuple[Int32[np.ndarray, "n"], Bool[np.ndarray, "n"] | None]:  # fmt: skip
    """Ids as int32, and which of them the subject does not have; None: it has all."""
    limit, missing = d_vocab if d_vocab is not None else ANY, None
    if values.null_count:
        missing, values = np.asarray(values.is_null()), values.fill_null(0)
    found = values.to_numpy(zero_copy_only=False)
    if missing is None and (not len(found) or (found.min() >= 0 and found.max() < limit)):
        return found.astype(np.int32, copy=False), None
    wrong = (found < 0) | (found >= limit)
    return found.astype(np.int32, copy=False), wrong if missing is None else wrong | missing


def _refusal(found: int | None, position: int, rules: Rules, *, where: str) -> CorpusError:
    if found is None:
        return CorpusError(
            f"reading {where}: no token id at position {position:,} (found: null). Remove the missing values, or give "
            "a table with the text."
        )
    last = f"{(rules.d_vocab or ANY) - 1:,}"
    return CorpusError(
        f"reading {where}: the token id {found:,} at position {position:,}; the subject has ids 0 to {last}. "
        "The corpus was tokenised for another model: give one that was tokenised for this one, or its text."
    )
