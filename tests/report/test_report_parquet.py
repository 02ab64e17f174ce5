"""The ranked neurons in Parquet: what JSON and CSV say, with types."""

import json
import math

import pyarrow.parquet as pq
import pytest

from neurolocal.errors import NeurolocalError
from neurolocal.report.parquet import write_parquet
from neurolocal.report.rows import report_object, report_rows


@pytest.mark.parametrize("hostile_corpus", [False, True])
def test_the_neurons_are_those_of_json(small_store, hostile_corpus, tmp_path):
    store = small_store(hostile=hostile_corpus)
    rows = report_rows(store)
    write_parquet(rows, path=tmp_path / "r.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["r.parquet"]
    table = pq.read_table(tmp_path / "r.parquet")
    wanted = report_object(store, rows)["neurons"]
    assert table.num_rows == len(wanted) == 24
    assert table.schema.names == list(wanted[0])
    for found, neuron in zip(table.to_pylist(maps_as_pydicts="strict"), wanted, strict=True):
        found["evidence"] = json.loads(found["evidence"])
        found["histogram"] = {str(key): count for key, count in found["histogram"].items()}
        assert found == neuron


def test_columns_are_typed_and_described(small_store, tmp_path):
    rows = report_rows(small_store())
    write_parquet(rows, path=tmp_path / "r.parquet")
    schema = pq.read_schema(tmp_path / "r.parquet")
    assert all(field.metadata[b"description"] for field in schema)
    types = {name: str(schema.field(name).type) for name in ("rank", "score", "verdict", "words")}
    assert types == {"rank": "int64", "score": "double", "verdict": "string", "words": "map<string, int64 ('words')>"}
    assert any(math.isnan(row.similarity) for row in rows)
    assert pq.read_table(tmp_path / "r.parquet").column("similarity").null_count > 0


def test_no_neurons_and_no_folder(small_store, tmp_path):
    write_parquet([], path=tmp_path / "r.parquet")
    assert pq.read_table(tmp_path / "r.parquet").num_rows == 0
    with pytest.raises(NeurolocalError, match=r"writing the report .*No such file or directory. Make the folder"):
        write_parquet(report_rows(small_store(), [2], limit=1), path=tmp_path / "no" / "r.parquet")
