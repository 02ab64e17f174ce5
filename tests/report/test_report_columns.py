"""A stage without a section of its own: its columns are in the record, on the terminal and on the page."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass

import numpy as np
import pytest
from jaxtyping import Float32, Int64
from report_twins import HOSTILE

from neurolocal.records import TABLES
from neurolocal.report import page, report_csv, report_json, report_rows, show
from neurolocal.report.columns import column_figures, column_values
from neurolocal.report.layer import read_layer
from neurolocal.store import Store, add_evidence


@dataclass(frozen=True)
class ToyTable:
    """The table of a stage that the report does not know."""

    neuron: Int64[np.ndarray, "n"]
    width: Float32[np.ndarray, "n"]
    note: list[str]


@pytest.fixture
def store(small_store, monkeypatch):
    """A store with the toy stage's table for neurons 1 and 4 of layer 2, the second note hostile."""
    monkeypatch.setitem(TABLES, "toy", ToyTable)
    path = small_store().path
    table = ToyTable(np.array([4, 1]), np.array([0.25, np.nan], np.float32), ["".join(HOSTILE[:3]), "fine"])
    add_evidence(path, [("toy", 2, "largest", table, {"seed": 7})], site="post")
    with Store(path) as opened:
        yield opened


def shown(store, neuron):
    out = io.StringIO()
    show(store, 2, neuron, out=out, width=160)
    return out.getvalue()


def test_values_and_figures(store):
    read = read_layer(store, 2)
    assert column_values(read, "toy", 4) == {"width": 0.25, "note": "".join(HOSTILE[:3])}
    assert column_values(read, "toy", 0) == {}
    first, second = column_figures(read, "toy", 1)
    assert (first.name, first.text, second.name, second.text) == ("toy: width", "–", "toy: note", "fine")
    assert next(figure.number for figure in column_figures(read, "toy", 4)) == 0.25


def test_nested_tables_are_omitted(small_store):
    read = read_layer(small_store(), 2)
    neuron = int(read.tables["perturbation"].neuron[0])
    assert "substitutes" not in column_values(read, "perturbation", neuron)


def test_json_and_csv(store):
    rows = report_rows(store, [2])
    made = json.loads(report_json(store, rows))
    assert made["stages"]["toy"] == {"2": {"seed": 7}}
    evidence = {n["neuron"]: n["evidence"] for n in made["neurons"]}
    assert evidence[1] == {"toy": {"width": None, "note": "fine"}}
    assert [neuron for neuron, values in evidence.items() if values] == [n for n in evidence if n in (1, 4)]
    csv.field_size_limit(10**6)
    lines = {line["neuron"]: line for line in csv.DictReader(io.StringIO(report_csv(rows)))}
    assert json.loads(lines["4"]["evidence"])["toy"]["width"] == 0.25


def test_terminal(store):
    text = shown(store, 4)
    assert "toy: width" in text
    assert "⟨U+202E⟩evil⟨U+2066⟩⟨U+0000⟩⟨U+001B⟩" in text
    assert "\x1b" not in text
    assert "toy" not in shown(store, 0)


def test_page(store):
    pytest.importorskip("jinja2", reason="the page needs the extra `site`")
    text = page(store, [2])
    assert text.count("<dt>toy: width</dt>") == 2
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;⟨U+202E⟩evil" in text
    assert "<img" not in text
