"""Direct logit effects in the views: the same tokens and values everywhere."""

import csv
import json
import sys

import numpy as np
import pytest
from tables import filled

from neurolocal.intervention.table import ChangedTokenTable, ChangeTable, InterventionTable
from neurolocal.report.layer import read_layer
from neurolocal.report.logit_effects import fires_and_promotes, promoted, suppressed
from neurolocal.report.neuron import show
from neurolocal.report.rows import report_csv, report_object, report_rows
from neurolocal.store import Store, add_evidence


def test_they_are_those_of_the_store_in_its_order(small_store):
    store = small_store()
    read, effects = read_layer(store, 2), store.logit_effects(2)
    assert effects is not None
    for neuron in (0, 7):
        for found, tokens, values in (
            (promoted(read, neuron), effects.promoted, effects.promoted_effect),
            (suppressed(read, neuron), effects.suppressed, effects.suppressed_effect),
        ):
            assert [e.token for e in found] == [store.vocabulary.tokens[t].decode() for t in tokens[neuron]]
            assert [e.effect for e in found] == pytest.approx(values[neuron].tolist())


def test_json_csv_and_page_have_them(small_store):
    store = small_store()
    rows = report_rows(store, [2])
    expected = promoted(read_layer(store, 2), rows[0].neuron)
    strongest: dict[str, float] = {}
    for e in expected:
        strongest.setdefault(e.token, e.effect)
    assert rows[0].promotes == strongest
    written = json.loads(json.dumps(report_object(store, rows), allow_nan=False))["neurons"][0]
    assert written["promotes"] == strongest
    assert len(written["suppresses"]) > 0
    line = next(csv.DictReader(report_csv(rows).splitlines()))
    assert json.loads(line["promotes"]) == strongest
    pytest.importorskip("jinja2")
    from neurolocal.report.page import page

    text = page(store, [2], cards=1)
    assert text.count("<dt>promotes</dt>") == text.count("<dt>suppresses</dt>") == 1


def test_a_store_without_effects(small_store, monkeypatch):
    store = small_store()
    monkeypatch.setattr(type(store), "logit_effects", lambda self, layer: None)
    read = read_layer(store, 2)
    assert promoted(read, 0) == suppressed(read, 0) == []
    assert report_rows(store, [2])[0].promotes == {}


@pytest.mark.parametrize(
    ("steer_q", "zero_q", "said"),
    [
        (0.01, 0.05, "promotes “{1}”, “{3}”; is needed for “{2}”"),
        (0.06, 0.05, "is needed for “{2}”"),
        (0.05, np.nan, "promotes “{1}”, “{3}”"),
        (0.06, 0.5, ""),
    ],
)
def test_one_line_says_what_it_fires_on_and_what_it_does(small_store, steer_q, zero_q, said, capsys):
    path = small_store().path
    tokens = filled(
        ChangedTokenTable,
        [0] * 5,
        change=["zero", "zero", "x3", "x3", "x3"],
        token=[2, 4, 1, 3, 5],
        difference=[-0.5, 0.2, 2.0, 1.0, -3.0],
    )
    changes = filled(ChangeTable, [0], text=["own"], change=["zero"])
    table = filled(InterventionTable, [0], steer_q=[steer_q], zero_q=[zero_q], changes=changes, tokens=tokens)
    add_evidence(path, [("intervention", 2, "largest", table, {})], site="post")
    with Store(path) as store:
        read = read_layer(store, 2)
        words = [text.replace(" ", "·") for text in store.vocabulary.str_tokens(np.arange(6))]
        description = read.text("summary", "description", 0)
        fires = f"fires on {description}; " if description else ""
        assert fires_and_promotes(read, 0) == (fires + said.format(*words) if said else "")
        assert fires_and_promotes(read, 1) == ""
        show(store, 2, 0, out=sys.stdout, width=300)
        assert fires_and_promotes(read, 0) in capsys.readouterr().out
