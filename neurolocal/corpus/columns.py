"""Tables: `.parquet` files, and data sets saved by `datasets`, whose Arrow files are read without that package.

Invariant: only the text (or the conversation, or the token ids) and `meta.pile_set_name` are decoded: no picture, no
sound, no date, and nothing that an address in a table names. Of a saved data set only files inside its folder are
read, which are those that its SHA-256 covers.
Cost: memory for `BATCH_BYTES` of a table, or one row where that is larger; a string that many rows refer to is held
once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from neurolocal.corpus.conversations import FIELDS
from neurolocal.corpus.record import LONGEST_NAME, Defect, Record, Rules, names, record_of, too_long
from neurolocal.corpus.sizes import CorpusFile, bytes_of
from neurolocal.corpus.token_ids import ID_COLUMNS, holds_ids, id_records, ids_batch_rows
from neurolocal.errors import CorpusError, first_line
from neurolocal.storage import on_disk
from neurolocal.trial import try_reading

META, SUBSET = "meta", "pile_set_name"

TRIAL = Path(__file__).with_name("trial_child.py")
"""Reads a parquet file's description in a process of its own, before this one does."""

BATCH_ROWS = 256
"""Most rows decoded at once."""

BATCH_BYTES = 1 << 26
"""Bytes of rows decoded at once, by the average of a row group."""

LONGEST_STATE = 1 << 24
"""Most bytes of the files that name a saved data set's parts."""


def read_parquet(path: CorpusFile, first: int, rules: Rules) -> Iterator[tuple[int, int, Record]]:
    """The rows of a `.parquet` file; see `FileReader`. One on other storage is copied to the disk first."""
    with on_disk(path) as local:
        yield from _parquet_rows(local, first, rules, shown=path)


def _parquet_rows(
    path: Path, first: int, rules: Rules, *, shown: CorpusFile
) -> Iterator[tuple[int, int, Record]]:  # fmt: skip
    import pyarrow.parquet as parquet

    try_reading(path, TRIAL, package="pyarrow", error=CorpusError, name=str(shown))
    stated = parquet.read_metadata(path)
    leaves = [stated.schema.column(i) for i in range(len(stated.schema))]
    strings = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    with parquet.ParquetFile(path, read_dictionary=strings) as table:
        schema, size, number = table.schema_arrow, bytes_of(path), 0
        source = _source(schema, rules)
        if not source.columns:
            yield 0, size, Defect(f'no column "{rules.text_field}"', names(schema.names))
            return
        wanted = [*source.columns, *([f"{META}.{SUBSET}"] if _has_subset(schema) else [])]
        for group in range(stated.num_row_groups):  # one at a time: each has dictionaries of its own
            if number + (n := stated.row_group(group).num_rows) <= first:
                number += n
                continue
            rows = _batch_rows(stated.row_group(group), source)
            for batch in table.iter_batches(batch_size=rows, row_groups=[group], columns=wanted):
                for i, record in _rows(batch, source, rules, path=shown, number=number, first=first):
                    yield i, size * (i + 1) // stated.num_rows, record
                number += batch.num_rows


class _Source(NamedTuple):
    """Where a table holds its documents."""

    columns: list[str]
    """With the text; with the conversation where there is none; with the token ids where is neither; or no column."""
    ids: bool
    """Whether they are token ids."""


def _source(schema: Any, rules: Rules) -> _Source:
    if rules.text_field in schema.names:
        return _Source([rules.text_field], holds_ids(schema, rules.text_field))
    if chats := [name for name in FIELDS if name in schema.names]:
        return _Source(chats, False)
    return _Source([name for name in ID_COLUMNS if holds_ids(schema, name)][:1], True)


def _has_subset(schema: Any) -> bool:
    import pyarrow as pa

    at = schema.get_field_index(META)
    kind = schema.field(at).type if at >= 0 else None
    return kind is not None and pa.types.is_struct(kind) and kind.get_field_index(SUBSET) >= 0


def _batch_rows(group: Any, source: _Source) -> int:
    """Rows of a row group to decode at once: `BATCH_BYTES`, by their average."""
    if source.ids:
        return ids_batch_rows(group, source.columns[0], BATCH_BYTES)
    return max(1, min(BATCH_ROWS, BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)))


def _rows(
    batch: Any, source: _Source, rules: Rules, *, path: CorpusFile, number: int, first: int
) -> Iterator[tuple[int, Record]]:
    """The rows of a batch of columns from record `first` on, and their numbers; `number` is that of its first row."""
    begin = max(0, first - number)
    if source.ids:
        batch = batch.slice(begin)
        column, has_subset = batch.column(source.columns[0]), batch.schema.get_field_index(META) >= 0
        subsets = [_name(batch.column(META)[i]) if has_subset else None for i in range(batch.num_rows)]
        found = id_records(column, subsets, rules, path=path, number=number + begin)
    else:
        found = (_row(batch, i, source.columns, rules) for i in range(begin, batch.num_rows))
    yield from enumerate(found, number + begin)


def _row(batch: Any, i: int, texts: list[str], rules: Rules) -> Record:
    """A row of a batch of columns; the size of its strings is looked at before any is decoded."""
    try:
        columns = {name: batch.column(name)[i] for name in texts}
        if (n := sum(_string_bytes(one, rules.longest) for one in columns.values())) > rules.longest:
            return too_long(n, rules)
        value = {name: one.as_py() for name, one in columns.items()}
        if batch.schema.get_field_index(META) >= 0:
            value[META] = {SUBSET: _name(batch.column(META)[i])}
    except UnicodeDecodeError as error:
        return Defect("not UTF-8", f"byte {error.start:,} is {error.object[error.start : error.start + 1]!r}")
    except Exception as error:  # what is raised for a date in the year 200,000 depends on its type
        return Defect("a value that cannot be read", f"{type(error).__name__}: {first_line(error)}")
    return record_of(value, rules)


def _name(meta: Any) -> str | None:
    """The subset in a row's `meta`; of a long one its beginning."""
    import pyarrow as pa

    found: Any = meta[SUBSET] if meta.is_valid else None
    found = found.value if isinstance(found, pa.DictionaryScalar) else found
    if not isinstance(found, pa.StringScalar) or not found.is_valid:
        return None
    buffer = found.as_buffer()
    return buffer.slice(0, min(buffer.size, 4 * LONGEST_NAME)).to_pybytes().decode("utf-8", "ignore")


def _string_bytes(value: Any, most: int) -> int:
    """Bytes of all strings in a value, as `as_py` would make them; it is no longer counted beyond `most`."""
    import pyarrow as pa

    if isinstance(value, pa.DictionaryScalar):
        value = value.value
    if not value.is_valid:
        return 0
    if isinstance(value, pa.StringScalar | pa.BinaryScalar):
        return value.as_buffer().size
    parts = value.values() if isinstance(value, pa.StructScalar) else value.values if _is_list(value) else ()
    total = 0
    for part in parts:
        total += 1 + _string_bytes(part, most)
        if total > most:
            break
    return total


def _is_list(value: Any) -> bool:
    import pyarrow as pa

    return isinstance(value, pa.ListScalar)


STATED_BY = ("state.json", "dataset_dict.json")
"""The files by which a saved data set is known."""


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder was saved by `datasets`."""
    return any((path / name).is_file() for name in STATED_BY)


def read_saved_dataset(path: CorpusFile, first: int, rules: Rules) -> Iterator[tuple[int, int, Record]]:
    """The rows of a data set saved by `datasets`, or of a saved dictionary of them, by name; see `FileReader`.

    One on other storage is copied to the disk first, whole.
    """
    with on_disk(path) as local:
        yield from _saved_rows(local, first, rules, shown=path)


def _saved_rows(
    path: Path, first: int, rules: Rules, *, shown: CorpusFile
) -> Iterator[tuple[int, int, Record]]:  # fmt: skip
    number, behind = 0, 0
    for part in _saved_parts(path):
        begin, lacks = number, None
        for file in _arrow_files(part, path):
            for batch, at in _arrow_batches(file, rules):
                source = _source(batch.schema, rules)
                lacks = lacks if source.columns else batch.schema.metadata[b"all"].decode()
                rows = _rows(batch, source, rules, path=shown, number=number, first=first) if source.columns else ()
                for i, record in rows:
                    yield i, behind + at, record
                number += batch.num_rows
            behind += bytes_of(file)
        if lacks is not None and begin >= first:
            yield begin, behind, Defect(f'no column "{rules.text_field}"', lacks)


def _arrow_batches(file: Path, rules: Rules) -> Iterator[tuple[Any, int]]:
    """The batches of an Arrow stream, with the wanted columns alone, and the bytes read so far.

    The schema's metadata holds `all`: the names of all columns, to show.

    Raises:
        ValueError: offsets or text in it are damaged.
    """
    import pyarrow as pa

    with pa.memory_map(str(file)) as source:
        schema = pa.ipc.open_stream(source).schema
        texts = _source(schema, rules).columns
        wanted = [*texts, *([META] if texts and _has_subset(schema) else [])]
        fields = [schema.get_field_index(name) for name in wanted] or [0]
        if min(fields) < 0:
            raise ValueError(f"{file.name} has two columns of one name ({names(schema.names)})")
        source.seek(0)
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        for batch in pa.ipc.open_stream(source, options=options):
            batch.validate(full=True)
            yield batch.replace_schema_metadata({"all": names(schema.names)}), source.tell()


def _saved_parts(path: Path) -> list[Path]:
    """The folder of a saved data set, or those of a saved dictionary in the order of their names.

    Raises:
        ValueError: it is damaged.
    """
    if not (path / "dataset_dict.json").is_file():
        return [path]
    splits = _json(path, "dataset_dict.json", root=path).get("splits")
    if not isinstance(splits, list) or not splits:
        raise ValueError("no whole data set (dataset_dict.json names no splits)")
    return [_inside(path, name, path / "dataset_dict.json", root=path) for name in sorted(map(str, splits))]


def _arrow_files(part: Path, root: Path) -> list[Path]:
    """The Arrow files of a data set, in order.

    Raises:
        ValueError: it is damaged, or names a file outside its folder.
    """
    state = _json(part, "state.json", root=root)
    stated = state.get("_data_files")
    if not isinstance(stated, list) or not all(isinstance(one, dict) for one in stated):
        raise ValueError("no whole data set (state.json names no _data_files)")
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise ValueError("a data set of an early version of datasets, with indices: load it and save it again")
    return [_inside(part, str(one.get("filename")), part / "state.json", root=root) for one in stated]


def _json(folder: Path, name: str, *, root: Path) -> dict[str, Any]:
    path = _inside(folder, name, folder, root=root)
    try:
        if path.stat().st_size > LONGEST_STATE:
            raise ValueError(f"over {LONGEST_STATE:,} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"no whole data set ({path.name}: {first_line(error)})") from error
    if not isinstance(found, dict):
        raise ValueError(f"no whole data set ({path.name} is no JSON object)")
    return found


def _inside(folder: Path, name: str, source: Path, *, root: Path) -> Path:
    """A file or folder that a saved data set names, inside it.

    A link is followed to a place inside the data set, or from a hub cache's `snapshots/` to its `blobs/`.

    Raises:
        ValueError: the name is a path, or a link leads out.
    """
    path = folder / name
    if name in ("", ".", "..") or "\0" in name or "\\" in name or Path(name).name != name:
        raise ValueError(f"{source.name} names {name[:80]!r}; expected a file of the same folder")
    real, whole = (Path(os.path.realpath(one)) for one in (path, root))  # `resolve` raises for a ring of links
    cache = next((up.parent for up in whole.parents if up.name == "snapshots"), None)
    if not (real.is_relative_to(whole) or (cache is not None and real.parent == cache / "blobs")):
        raise ValueError(f"{source.name} names {name[:80]!r}, a link that leads out of the data set")
    return path
