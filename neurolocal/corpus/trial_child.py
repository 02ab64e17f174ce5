"""Run by `neurolocal.bounded`: pyarrow reads the description of a parquet file, as the program will read it.

pyarrow ends the process on some damaged descriptions. It imports nothing of this package. Cost: the file's footer.
"""

from __future__ import annotations

from typing import Any

from pyarrow import parquet


def answer(question: Any) -> None:
    """Read the file of `[package, path]`; any exception refuses it."""
    _, path = question
    with parquet.ParquetFile(path) as table:
        stated = table.metadata
        _ = stated.schema, table.schema_arrow
        for i in range(stated.num_row_groups):
            group = stated.row_group(i)
            for k in range(group.num_columns):
                _ = group.column(k).statistics
