"""The records, their JSON and their CSV: stable names, strict, whole."""

import csv
import io
import json
import math
from collections import Counter
from dataclasses import fields

import pytest

from neurolocal.errors import NeurolocalError, StoreError
from neurolocal.report.rows import (
    EXPERT_FIELDS,
    NeuronRow,
    report_csv,
    report_json,
    report_object,
    report_rows,
    write_csv,
    write_json,
)

STABLE = ["layer", "neuron", "rank", "score", "verdict", "description", "tokens", "similarity", "perturbation"]


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_names_that_scripts_rely_on_come_first():
    assert [f.name for f in fields(NeuronRow)][: len(STABLE)] == STABLE


def test_rows_contain_the_values_of_the_tables(small_store):
    store = small_store(seed=3)
    rows = report_rows(store)
    assert [(r.layer, r.rank) for r in rows] == [(n, i) for n in (2, 5) for i in range(1, 13)]
    for row in rows:
        verdict = store.evidence("verdict", row.layer)
        assert (row.verdict, row.reason) == (verdict.verdict[row.neuron], verdict.reason[row.neuron])
        assert row.score == verdict.score[row.neuron]
        for stage, value in (("similarity", row.similarity), ("perturbation", row.perturbation)):
            table = store.evidence(stage, row.layer)
            held = [float(s) for n, s in zip(table.neuron, table.score, strict=True) if n == row.neuron]
            assert ([value] if held else []) == held
            assert bool(held) or math.isnan(value)
        examples = store.examples(row.layer, row.neuron)
        peaks = [store.vocabulary.tokens[e.tokens[e.position - e.start]] for e in examples]
        assert row.tokens == [p.decode("utf-8", "replace") for p in peaks]
        assert row.words == Counter(store.vocabulary.word_at(e.tokens, e.peak).text for e in examples)
        assert list(row.words.values()) == sorted(row.words.values(), reverse=True)


def test_limit_and_layers(small_store):
    store = small_store()
    every = [(r.layer, r.neuron) for r in report_rows(store)]
    best = [(r.layer, r.neuron) for r in report_rows(store, [5, 5], limit=3)]
    assert best == [(layer, neuron) for layer, neuron in every if layer == 5][:3]
    with pytest.raises(StoreError, match=r"^looking for layer 3 in .*: it holds layers 2,5 .*Choose"):
        report_rows(store, [2, 3])


def test_without_any_evidence_there_are_still_rows(small_store):
    rows = report_rows(small_store(stages=()), [2])
    assert [(r.neuron, r.rank, r.verdict, r.description) for r in rows] == [(i, None, None, "") for i in range(12)]
    made = strict(report_json(small_store(stages=()), rows))
    assert made["neurons"][0]["score"] is None
    assert made["verdicts"] == {"2": {}}


def test_an_empty_layer_and_no_layers(small_store):
    assert report_rows(small_store(neurons=0)) == []
    assert report_rows(small_store(), []) == []
    assert strict(report_json(small_store(), []))["neurons"] == []


def test_the_smallest_side_has_its_own_examples(small_store):
    rows = report_rows(small_store(), [2], side="smallest")
    assert all(r.activation < 0 and r.rank is None for r in rows)
    assert all(r.activation > 0 for r in report_rows(small_store(), [2]))


@pytest.mark.parametrize("hostile_corpus", [False, True])
def test_json_is_strict_and_ascii_and_whole(small_store, hostile_corpus, tmp_path):
    store = small_store(hostile=hostile_corpus)
    rows = report_rows(store)
    write_json(store, rows, path=tmp_path / "r.json")
    text = (tmp_path / "r.json").read_bytes().decode("ascii")
    made = strict(text)
    assert made == report_object(store, rows)
    assert set(STABLE) <= set(made["neurons"][0])
    config = {"row_length": 23, "k": 4, "layers": [2, 5], "sites": ["post"], "before": 12, "after": 2}
    assert made["config"] == {**config, "nothing": None, "ghost": "\ufffd"}
    assert made["stages"]["summary"]["5"] == {"config": {"seed": 0, "nothing": None}}
    assert sum(made["verdicts"]["2"].values()) == 12
    assert any(n["similarity"] is None for n in made["neurons"])
    assert [n["tokens"] for n in made["neurons"]] == [r.tokens for r in rows]
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize("hostile_corpus", [False, True])
def test_csv_round_trip(small_store, hostile_corpus, tmp_path):
    rows = report_rows(small_store(hostile=hostile_corpus))
    write_csv(rows, path=tmp_path / "r.csv")
    csv.field_size_limit(10**6)
    read = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_bytes().decode(), newline="")))
    assert len(read) == len(rows)
    for line, row in zip(read, rows, strict=True):
        assert (int(line["layer"]), int(line["neuron"]), int(line["rank"])) == (row.layer, row.neuron, row.rank)
        assert float(line["score"]) == row.score
        assert json.loads(line["tokens"]) == row.tokens
        assert json.loads(line["words"]) == row.words
        assert (line["similarity"] == "") == math.isnan(row.similarity)
        guard = "'" if row.description.startswith("=") else ""
        assert line["description"] == guard + row.description
    assert "NaN" not in (tmp_path / "r.csv").read_text()
    dense = [f.name for f in fields(NeuronRow) if f.name not in EXPERT_FIELDS]
    assert report_csv([]).splitlines() == [",".join(dense)]


def test_a_missing_folder_is_an_error_of_one_line_and_nothing_is_left(small_store, tmp_path):
    with pytest.raises(NeurolocalError, match=r"^writing .*no/r\.csv: No such file or directory\. Make the folder"):
        write_csv([], path=tmp_path / "no" / "r.csv")
    (tmp_path / "taken").mkdir()
    with pytest.raises(NeurolocalError, match=r"^writing .*taken"):
        write_csv([], path=tmp_path / "taken")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
