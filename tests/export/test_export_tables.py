"""Tables as files: what is read back equals the store; new stages, folders, failures."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from import_twins import ENGLISH, corpus, load, write
from store_twins import made_up

from neurolocal import records
from neurolocal.errors import ConfigError, StoreError
from neurolocal.export.table_files import all_tables, export_tables
from neurolocal.records import CASES, TABLES
from neurolocal.store import Store, write_collected
from neurolocal.tables import column_annotations


def read(folder: Path, name: str) -> dict[str, list[Any]]:
    return pq.read_table(folder / f"{name}.parquet").to_pydict()


def same(read: Any, stored: Any) -> bool:
    """Equal, NaN too; arrays as lists."""
    return repr(list(read)) == repr(np.asarray(stored).tolist() if isinstance(stored, np.ndarray) else list(stored))


def tables_within(table: Any, name: str) -> list[tuple[str, Any]]:
    """A stage's table and those inside it, with the names of their files."""
    inner = [(f.name, getattr(table, f.name)) for f in dataclasses.fields(table)]
    nested = [one for key, value in inner if dataclasses.is_dataclass(value) for one in tables_within(value, key)]
    return [(name, table), *((f"{name}_{key}", value) for key, value in nested)]


def test_every_stage_table_is_read_back_as_it_is_in_the_store(full_store, full_export):
    for stage in TABLES:
        for name, table in tables_within(full_store.evidence(stage, 2), stage):
            found = read(full_export / "parquet", name)
            assert set(found["layer"]) == {2}
            assert set(found["side"]) == {"largest"}
            plain = [c for c, said in column_annotations(type(table)).items() if not said.endswith("Table")]
            assert list(found) == ["layer", "side", *plain]
            for column in plain:
                assert same(found[column], getattr(table, column)), f"{name}.{column}"


KINDS = {"Float32": "float", "Float64": "double", "Int32": "int32", "Int64": "int64", "Bool": "bool", "list": "string"}


@pytest.mark.parametrize("stage", TABLES)
def test_columns_keep_their_types(stage):
    schema, record = all_tables()[stage].schema, records.table_of(stage)
    for column, said in column_annotations(record).items():
        if not said.endswith("Table"):
            assert str(schema.field(column).type) == KINDS[said.split("[")[0]], column


def test_examples_equal_those_of_each_neuron(full_store, tmp_path, monkeypatch):
    monkeypatch.setattr("neurolocal.export.layer_tables.ROWS", 5)  # two neurons a part
    export_tables(full_store, tmp_path / "out", tables=["examples"], bar=False)
    found = pq.read_table(tmp_path / "out" / "examples.parquet").to_pylist()
    wanted = []
    for layer in full_store.layers:
        for side in full_store.sides(layer):
            for neuron in full_store.neurons(layer).tolist():
                for e in full_store.examples(layer, neuron, side):
                    part = full_store.parts.at(np.array([e.row]), np.array([e.position]))[0]
                    ids = e.tokens.tolist()
                    wanted.append({
                        "layer": layer, "neuron": neuron, "side": side, "rank": e.rank, "row": e.row,
                        "position": e.position, "activation": e.activation,
                        "subset": full_store.parts.subsets[full_store.parts.subset[part]],
                        "peak_token": full_store.vocabulary.str_tokens([ids[e.peak]])[0], "start": e.start,
                        "tokens": ids, "str_tokens": full_store.vocabulary.str_tokens(ids),
                        "activations": e.activations.tolist(),
                    })  # fmt: skip
    assert len(wanted) > 20
    assert {one["side"] for one in wanted} == {"largest", "smallest", *CASES}
    assert repr(found) == repr(wanted)


def test_what_was_collected_equals_the_store(full_store, full_export):
    found = {path.stem: read(path.parent, path.stem) for path in (full_export / "parquet").glob("*.parquet")}
    n = 4
    for i, layer in enumerate(full_store.layers):
        mine = slice(i * n, i * n + n)
        s, cases, effects = full_store.statistics(layer), full_store.cases(layer), full_store.logit_effects(layer)
        got = {name: values[mine] for name, values in found["statistics"].items()}
        assert got["neuron"] == [1, 4, 5, 9]
        assert (set(got["count"]), set(got["sampled"]), set(got["expert"])) == ({s.count}, {s.sampled}, {None})
        for name in ("mean", "variance", "skewness", "kurtosis", "minimum", "maximum", "positive", "nonfinite"):
            assert same(got[name], getattr(s, name)), name
        assert same(got["above"], s.above.T)
        assert same(got["histogram"], s.histogram)
        assert same(found["sample"]["activations"][mine], full_store.sampled(layer))
        assert same(found["logit_effects"]["promoted"][mine], effects.promoted)
        assert same(found["logit_effects"]["suppressed_effect"][mine], effects.suppressed_effect)
        texts = [full_store.vocabulary.str_tokens(ids) for ids in effects.suppressed]
        assert found["logit_effects"]["suppressed_tokens"][mine] == texts
        of_cases = {name: values[i * 16 : i * 16 + 16] for name, values in found["sign_cases"].items()}
        assert of_cases["case"] == list(CASES) * n
        assert same(of_cases["count"], cases.count.T.ravel())
        assert same(of_cases["mean"], cases.mean.T.ravel())
    assert found["rows"]["row"] == full_store.row_index.tolist()
    assert found["rows"]["tokens"] == [row.tolist() for row in full_store.iter_rows()]
    parts = full_store.parts
    assert found["parts"]["subset"] == [parts.subsets[i] for i in parts.subset]
    assert found["parts"]["row"] == [i for i, n in enumerate(np.diff(parts.offsets)) for _ in range(n)]
    assert found["sample_positions"]["row"] == full_store.sample.row.tolist()
    assert found["sample_positions"]["explaining"] == full_store.sample.explaining.tolist()
    assert found["vocabulary"]["bytes"] == list(full_store.vocabulary.tokens)
    assert found["vocabulary"]["count"] == full_store.token_count.tolist()


def test_every_column_is_described_in_file_and_manifest(full_store, full_export):
    folder = full_export / "parquet"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["tables"]) == set(all_tables()) - {"pages"} == {path.stem for path in folder.glob("*.parquet")}
    for name, table in manifest["tables"].items():
        schema = pq.read_schema(folder / table["file"])
        assert schema.metadata[b"description"].decode() == table["description"] != ""
        assert table["rows"] == pq.read_metadata(folder / table["file"]).num_rows
        for field in schema:
            assert field.metadata[b"description"].decode() == table["columns"][field.name]["description"] != ""
            assert str(field.type).replace("element: ", "") == table["columns"][field.name]["type"], name
    assert manifest["store"] == full_store.manifest
    assert manifest["stages"]["verdict"] == {"2/largest": {"config": {"k": "verdict"}}}


def test_csv_has_the_values_of_parquet(full_export):
    csv.field_size_limit(10**6)
    for path in (full_export / "parquet").glob("*.parquet"):
        wanted = pq.read_table(path)
        with (full_export / "csv" / f"{path.stem}.csv").open(encoding="utf-8", newline="") as file:
            header, *lines = list(csv.reader(file))
        assert header == wanted.schema.names
        assert len(lines) == wanted.num_rows > 0
        for i, field in enumerate(wanted.schema):
            for line, value in zip(lines, wanted.column(i).to_pylist(), strict=True):
                assert from_cell(line[i], value, str(field.type)) == nan_is_none(value), (path.stem, field.name)


def from_cell(cell: str, like: Any, kind: str) -> Any:
    if kind == "string":
        return cell
    if isinstance(like, bytes):
        return bytes.fromhex(cell)
    if cell == "":
        return None
    if kind.startswith("list"):
        items = json.loads(cell)
        return [None if v is None else float(np.float32(v)) for v in items] if kind.endswith("float>") else items
    if isinstance(like, bool):
        return {"true": True, "false": False}[cell]
    return float(np.float32(cell)) if kind == "float" else type(like)(cell)


def nan_is_none(value: Any) -> Any:
    if isinstance(value, list):
        return [nan_is_none(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def test_hostile_text_survives_and_is_no_formula(small_store, tmp_path):
    store = small_store(hostile=True)
    export_tables(store, tmp_path / "p", bar=False)
    export_tables(store, tmp_path / "c", format="csv", bar=False)
    for layer in (2, 5):
        assert set(store.evidence("summary", layer).description) <= set(read(tmp_path / "p", "summary")["description"])
    csv.field_size_limit(10**6)
    for path in (tmp_path / "c").glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                for name, cell in line.items():
                    number = cell.removeprefix("-").replace(".", "").replace("e-", "").isdigit()
                    assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), (path.name, name, cell)
    described = read(tmp_path / "p", "summary")["description"]
    with (tmp_path / "c" / "summary.csv").open(encoding="utf-8", newline="") as file:
        lines = [line["description"] for line in csv.DictReader(file)]
    assert lines == [f"'{text}" if text.startswith("=") else text for text in described]


def test_some_tables_and_layers(small_store, tmp_path):
    out = tmp_path / "out"
    written = export_tables(small_store(), out, tables=["verdict", "examples"], layers=[5], bar=False)
    assert [(one.table.name, one.rows) for one in written] == [("verdict", 12), ("examples", 2 * 12 * 4)]
    assert set(read(out, "examples")["layer"]) == {5}
    names = {"verdict.parquet", "examples.parquet", "manifest.json"}
    assert {path.name for path in out.iterdir()} == names
    assert json.loads((out / "manifest.json").read_text())["layers"] == [5]


def test_equal_stores_give_equal_files_and_a_table_without_rows_none(small_store, tmp_path):
    store = small_store()
    for name in "ab":
        export_tables(store, tmp_path / name, bar=False)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    assert "score.parquet" not in files
    export_tables(small_store(stages=()), tmp_path / "a", bar=False)
    assert not (tmp_path / "a" / "verdict.parquet").exists()  # the earlier store's


def test_an_unknown_table_is_named_with_the_known_ones(small_store, tmp_path):
    with pytest.raises(ConfigError, match=r"there is no table 'exmples'. Choose from similarity, .*examples, "):
        export_tables(small_store(), tmp_path / "out", tables=["exmples"], bar=False)
    with pytest.raises(StoreError, match=r"looking for layer 3 in .*it holds layers 2,5"):
        export_tables(small_store(), tmp_path / "out", layers=[3], bar=False)
    assert not (tmp_path / "out").exists()


def test_a_manifest_of_something_else_is_left(small_store, tmp_path):
    path = tmp_path / "out" / "manifest.json"
    path.parent.mkdir()
    for text in ('{"format": "other"}', "[1]", "no JSON"):
        path.write_text(text)
        with pytest.raises(StoreError, match=r"holds a manifest.json of something else. Choose another folder"):
            export_tables(small_store(), tmp_path / "out", bar=False)
        assert path.read_text() == text
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"exporting to .*file: File exists. Choose a folder"):
        export_tables(small_store(), tmp_path / "file", bar=False)


def test_a_failure_leaves_whole_files_and_no_manifest(small_store, tmp_path, monkeypatch):
    store, out = small_store(), tmp_path / "out"
    export_tables(store, out, bar=False)
    before = (out / "examples.parquet").read_bytes()

    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(store), "top", stopped)
    with pytest.raises(KeyboardInterrupt):
        export_tables(store, out, bar=False)
    assert not (out / "manifest.json").exists()
    assert (out / "examples.parquet").read_bytes() == before
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_a_new_stage_is_exported_without_a_change(monkeypatch):
    monkeypatch.setitem(TABLES, "toy", records.SubstituteTable)
    assert all_tables()["toy"].schema.names == ["layer", "side", *column_annotations(records.SubstituteTable)]


def test_statistics_name_the_expert_of_a_neuron(tmp_path):
    rng, path = np.random.default_rng(1), tmp_path / "experts.h5"
    content = made_up(rng, layers=(2,))
    experts = records.Experts(np.array([0, 3, 4]), 0, np.array([40, 5]))
    place, record = content.layers[0]
    write_collected(path, dataclasses.replace(content, layers=[(place, dataclasses.replace(record, experts=experts))]))
    with Store(path) as store:
        export_tables(store, tmp_path / "out", tables=["statistics"], bar=False)
    found = read(tmp_path / "out", "statistics")
    assert found["expert"] == [0, 0, 0, 1]
    assert found["expert_neuron"] == [0, 1, 2, 0]
    assert found["routed"] == [40, 40, 40, 5]


def test_an_imported_store_has_what_its_pages_state(tmp_path):
    pages = corpus(np.random.default_rng(2), 9, words=ENGLISH)
    load([write(tmp_path / "pages", pages)], tmp_path / "theirs.h5")
    with Store(tmp_path / "theirs.h5") as store:
        export_tables(store, tmp_path / "out", bar=False)
        found, at = read(tmp_path / "out", "pages"), 0
        for layer in store.layers:
            lists = store.pages(layer)
            mine = slice(at, at := at + len(store.neurons(layer)))
            assert found["neuron"][mine] == store.neurons(layer).tolist()
            for name in ("text", "largest", "smallest", "range", "maximum", "trusted"):
                assert same(found[name][mine], getattr(lists, name)), name
        assert set(read(tmp_path / "out", "examples")["side"]) == {"largest"}
