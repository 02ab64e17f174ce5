"""Corpora of token ids: equal to the text that gives them, resumed anywhere, and refused where an id is none."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from corpus_twins import encode, ids, write_records
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.config import CollectConfig
from neurolocal.corpus import RowStream, corpus_files, documents, encoded, rest_arrays
from neurolocal.corpus.readers import SkipCounts
from neurolocal.errors import CorpusError

BOS, EOS, D_VOCAB = 1, 2, 1000
KINDS = pa.list_(pa.int32()), pa.large_list(pa.int64()), pa.list_(pa.uint16()), pa.list_(pa.uint64())


def table(folder: Path, columns: dict[str, Any], *, kind: str = "parquet", rows: int = 3) -> Path:
    """A table as a parquet file of some rows a group, or as a saved data set of batches of as many."""
    made = pa.table(columns)
    path = folder / f"ids.{kind}"
    if kind == "parquet":
        parquet.write_table(made, path, row_group_size=rows)
        return path
    path.mkdir()
    (path / "state.json").write_text('{"_data_files": [{"filename": "a.arrow"}]}')
    with pa.OSFile(str(path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, made.schema) as out:
        out.write_table(made, max_chunksize=rows)
    return path


def stream(path: Path, **more: Any) -> RowStream:
    config: Any = {"row_length": 5, "batch_size": 2} | more
    special = np.zeros(D_VOCAB, bool)
    special[[BOS, EOS, 10 + ord("c")]] = True
    return RowStream([path], encode, BOS, EOS, CollectConfig(**config), special=special, d_vocab=D_VOCAB)


def plain(batch: Any) -> dict[str, Any]:
    """All of a batch but the characters; those of its cursor tell how a long document was divided."""
    columns = batch.parts.columns()
    rest = rest_arrays(batch.after.rest)
    del columns["character"], rest["character"]
    arrays = {"tokens": batch.tokens, "length": batch.length, "rows": batch.rows, **columns, **rest}
    return batch.after.facts() | {name: np.asarray(column).tolist() for name, column in arrays.items()}


@settings(max_examples=60)
@given(
    texts=st.lists(st.text("abc", max_size=12), min_size=1, max_size=12), names=st.lists(st.sampled_from("xy")),
    packing=st.sampled_from(["concat", "document"]), bos=st.sampled_from(["prepend", "none"]),
    kind=st.sampled_from(KINDS), column=st.sampled_from(["input_ids", "tokens"]),
    saved=st.sampled_from(["parquet", "dataset"]),
)  # fmt: skip
def test_ids_are_the_text_that_gives_them(tmp_path_factory, texts, names, packing, bos, kind, column, saved):
    folder = tmp_path_factory.mktemp("p")
    metas = [{"pile_set_name": names[i % len(names)] if names else None} for i in range(len(texts))]
    records = [{"text": text, "meta": meta} for text, meta in zip(texts, metas, strict=True)]
    columns = {column: pa.array(ids(texts), kind), "meta": pa.array(metas, pa.struct({"pile_set_name": pa.string()}))}
    how: Any = {"packing": packing, "bos": bos}
    by_text = stream(write_records(folder, records, "jsonl"), **how)
    by_ids = stream(table(folder, columns, kind=saved), **how)
    try:
        wanted = [plain(batch) for batch in by_text.batches()]
    except CorpusError:
        with pytest.raises(CorpusError, match="no rows in"):
            list(by_ids.batches())
        return
    found = list(by_ids.batches())
    assert [plain(batch) for batch in found] == wanted
    assert all(set(batch.parts.character.tolist()) == {-1} for batch in found)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("packing", ["concat", "document"])
@pytest.mark.parametrize("kind", ["parquet", "dataset"])
def test_going_on_behind_any_batch(tmp_path, monkeypatch, packing, kind, threads):
    """Also inside a long document, and behind a row without ids."""
    monkeypatch.setattr(encoded, "IDS", 7)
    rows = [list(range(10, 10 + n)) for n in (3, 40, 0, 8, 7, 6)] + [None] + [[20, 21, 22, 23]] * 3
    path = table(tmp_path, {"input_ids": pa.array(rows, pa.list_(pa.int32()))}, kind=kind)
    whole = list(stream(path, packing=packing).batches())
    assert {name for batch in whole for name in batch.after.skipped} == {"no token ids"}
    assert any(batch.after.character for batch in whole)
    for i, batch in enumerate(whole):
        again = stream(path, packing=packing)
        again.threads = threads
        assert [plain(b) for b in again.batches(batch.after)] == [plain(b) for b in whole[i + 1 :]]


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([[5, 6], [], None, [7, 1000, -1]], pa.list_(pa.int64()), "record 4: the token id 1,000 at position 1; the "
         "subject has ids 0 to 999. The corpus was tokenised for another model"),
        ([[5], [6, -7]], pa.list_(pa.int16()), "record 2: the token id -7 at position 1"),
        ([[5], [2**63 + 5]], pa.list_(pa.uint64()), "record 2: the token id 9,223,372,036,854,775,813 at position 0"),
        ([[5], [6, None]], pa.list_(pa.int32()), r"record 2: no token id at position 1 \(found: null\)"),
        ([[5, 6], None, [6, 1234]], pa.list_(pa.int32(), 2), "record 3: the token id 1,234 at position 1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("saved", ["parquet", "dataset"])
def test_an_id_that_the_subject_does_not_have(tmp_path, rows, kind, message, saved):
    """What stands before it is given; it ends the run, whether records are strict or not."""
    path = table(tmp_path, {"tokens": pa.array(rows, kind)}, kind=saved)
    found = []
    with pytest.raises(CorpusError, match=message) as caught:
        found.extend(documents([path], d_vocab=D_VOCAB))
    assert str(caught.value).startswith(f"reading {path}, record")
    good = [row for row in rows[:-1] if row is not None]
    assert [document.tokens.tolist() for document in found] == good
    made = stream(path, row_length=2, batch_size=1, packing="document", bos="none").batches()
    assert next(made).tokens.tolist() == [[good[0][0], good[0][1] if len(good[0]) > 1 else EOS]]


@pytest.mark.parametrize(
    ("columns", "text", "tokens"),
    [
        ({"text": ["abc"], "input_ids": [[5]]}, "abc", None),
        ({"input_ids": [[5]], "tokens": [[6]]}, "", [5]),
        ({"input_ids": [["a"]], "tokens": [[6]]}, "", [6]),
        ({"other": [[5]], "tokens": [[6]]}, "", [6]),
    ],
)
def test_which_column_is_read(tmp_path, columns, text, tokens):
    (document,) = documents([table(tmp_path, columns)])
    assert document.text == text
    assert (None if document.tokens is None else document.tokens.tolist()) == tokens


def test_the_text_field_may_name_ids(tmp_path):
    path = table(tmp_path, {"other": [[5]], "tokens": [[6]]})
    (document,) = documents([path], text_field="other")
    assert document.tokens is not None
    assert document.tokens.tolist() == [5]


@pytest.mark.parametrize("kind", [
    pa.list_(pa.string()), pa.list_(pa.float64()), pa.list_(pa.list_(pa.int32())), pa.list_(pa.bool_()), pa.int64(),
    pa.string(), pa.struct({"a": pa.int32()}), pa.map_(pa.int32(), pa.int32()), pa.list_(pa.timestamp("us")),
    pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.null()),
])  # fmt: skip
@pytest.mark.parametrize("saved", ["parquet", "dataset"])
def test_a_column_of_another_type_is_none(tmp_path, kind, saved):
    path = table(tmp_path, {"input_ids": pa.nulls(2, kind)}, kind=saved)
    skipped = SkipCounts()
    assert list(documents([path], skipped=skipped)) == []
    assert skipped.counts == {'no column "text"': 1}


def test_two_columns_of_one_name(tmp_path):
    columns = [pa.array([[5]]), pa.array([[6]])]
    parquet.write_table(pa.Table.from_arrays(columns, names=["tokens", "tokens"]), tmp_path / "a.parquet")
    skipped = SkipCounts()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(documents([tmp_path / "a.parquet"], skipped=skipped)) == []
    assert skipped.counts == {'no column "text"': 1}


def test_a_row_that_is_too_long_is_skipped(tmp_path):
    """A bad id in it ends nothing, one behind it does."""
    path = table(tmp_path, {"tokens": [[5000] * 9, [5] * 8, [6000]]})
    skipped, found = SkipCounts(), []
    with pytest.raises(CorpusError, match="record 3: the token id 6,000"):
        found.extend(documents([path], skipped=skipped, longest=32, d_vocab=D_VOCAB))
    assert [document.tokens.tolist() for document in found] == [[5] * 8]
    assert skipped.counts == {"longer than longest_record": 1}


def test_one_id_for_ever_is_read_a_row_at_a_time(tmp_path, monkeypatch):
    """24 rows of 4 MB as ids, and of a few bytes in the file, behind 500 short ones."""
    monkeypatch.setattr("neurolocal.corpus.columns.BATCH_BYTES", 1 << 20)
    n = 1 << 20
    long = pa.array([[7] * n]).cast(pa.list_(pa.int32()))
    rows = pa.concat_arrays([pa.array([[5]] * 500, pa.list_(pa.int32())), *[long] * 24])
    path = table(tmp_path, {"tokens": rows}, rows=1000)
    assert path.stat().st_size < 1 << 17
    before, peak = pa.total_allocated_bytes(), 0
    for document in documents(corpus_files(path)):
        assert document.size in (1, n)
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 20 * n
