"""A store's tables as Parquet or CSV files in a folder, with `manifest.json` beside them.

Invariant: a file appears whole or not at all. The manifest is removed first and written last, so a folder with one is
complete. Equal stores give equal files. Cost: one part of a table in memory; a pass over what the tables need.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from neurolocal.errors import ConfigError
from neurolocal.export.folder import DOING, open_folder, put_manifest
from neurolocal.export.layer_tables import layer_tables
from neurolocal.export.shared_tables import shared_tables
from neurolocal.export.stage_tables import stage_tables
from neurolocal.export.table import ExportTable
from neurolocal.files import replacing
from neurolocal.progress import Bar
from neurolocal.render.cells import text_cell
from neurolocal.store import Store

TableFormat = Literal["parquet", "csv"]
"""How the files are written."""


class Written(NamedTuple):
    """One file of an export."""

    table: ExportTable
    path: Path
    rows: int


def export_tables(
    store: Store,
    out: Path,
    *,
    format: TableFormat = "parquet",
    tables: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    bar: bool = True,
) -> list[Written]:
    """Write a store's tables; one without rows has no file.

    Args:
        store: open at the site to export.
        out: the folder; made, or added to. Files of the chosen tables are replaced.
        format: `parquet` or `csv`.
        tables: which; None is all.
        layers: which; None is all. Tables that all layers share are whole.
        bar: whether to draw a progress bar.

    Raises:
        ConfigError: an unknown table.
        StoreError: no such layer; the folder holds another manifest, or cannot be written.
    """
    chosen, which = _chosen(tables), store.require_layers(layers)
    path_of_manifest = open_folder(out)
    written = []
    for table in Bar(chosen, desc="tables", unit="table", disable=not bar, delay=2):
        path = out / f"{table.name}.{format}"
        rows = _write(table, store, which, path, WRITERS[format])
        if rows:
            written.append(Written(table, path, rows))
        else:
            path.unlink(missing_ok=True)
    facts = {"tables": {one.table.name: _described(one) for one in written}}
    put_manifest(path_of_manifest, store, which, format, facts)
    return written


def all_tables() -> dict[str, ExportTable]:
    """Every table by name: of the stages, of the layers, of what the layers share."""
    return {table.name: table for table in (*stage_tables(), *layer_tables(), *shared_tables())}


def _chosen(names: Sequence[str] | None) -> list[ExportTable]:
    known = all_tables()
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ConfigError(f"exporting tables: there is no table {unknown[0]!a}. Choose from {', '.join(known)}.")
    return [table for name, table in known.items() if names is None or name in names]


def _write(table: ExportTable, store: Store, layers: Sequence[int], path: Path, writer: Callable[..., Any]) -> int:
    """Write a table's file; the number of its rows."""
    rows = 0
    with replacing(path, **DOING) as beside, writer(beside, table) as put:
        for batch in table.batches(store, layers):
            put(batch)
            rows += len(batch)
    return rows


@contextlib.contextmanager
def _parquet(path: Path, table: ExportTable) -> Generator[Callable[[pa.RecordBatch], None], None, None]:
    schema = table.schema.with_metadata({"description": table.about})
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        yield lambda batch: file.write_batch(batch.replace_schema_metadata(schema.metadata))


@contextlib.contextmanager
def _csv(path: Path, table: ExportTable) -> Generator[Callable[[pa.RecordBatch], None], None, None]:
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\r\n")
        lines.writerow(table.schema.names)
        yield lambda batch: lines.writerows(zip(*map(cells, batch.columns), strict=True))


WRITERS: dict[str, Callable[..., contextlib.AbstractContextManager[Callable[[pa.RecordBatch], None]]]] = {
    "parquet": _parquet,
    "csv": _csv,
}
"""Format -> a writer of one file: given its path and table, a function that appends a batch."""


def cells(values: pa.Array) -> list[str]:
    """A column as the cells of a CSV file: unknown figures are empty, lists are JSON texts, bytes are hexadecimal.

    Numbers have as many digits as give the same number of their type again.
    """
    kind = values.type
    if pa.types.is_string(kind):
        return [text_cell(text or "") for text in values.to_pylist()]
    if pa.types.is_binary(kind):
        return [blob.hex() for blob in values.to_pylist()]
    if pa.types.is_list(kind):
        texts = _json_items(values.flatten())
        ends = pc.cumulative_sum(values.value_lengths()).to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
        return [f"[{', '.join(texts[low:high])}]" for low, high in zip([0, *ends], ends, strict=False)]
    return ["" if text is None else text for text in _numbers(values)]


def _json_items(values: pa.Array) -> list[str]:
    if pa.types.is_string(values.type):
        known = values.dictionary_encode()
        texts = [json.dumps(text) for text in known.dictionary.to_pylist()]
        return [texts[i] for i in known.indices.to_pylist()]
    return ["null" if text is None else text for text in _numbers(values)]


def _numbers(values: pa.Array) -> list[str | None]:
    """Numbers as text; None where unknown or infinite."""
    if pa.types.is_floating(values.type):
        known = pc.is_finite(values)  # pyright: ignore[reportAttributeAccessIssue]
        values = pc.if_else(known, values, None)  # pyright: ignore[reportAttributeAccessIssue]
    return values.cast(pa.string()).to_pylist()


def _described(one: Written) -> dict[str, Any]:
    columns = {
        field.name: {
            "type": str(field.type).replace("item: ", ""),
            "description": (field.metadata or {}).get(b"description", b"").decode(),
        }
        for field in one.table.schema
    }
    return {"file": one.path.name, "rows": one.rows, "description": one.table.about, "columns": columns}
