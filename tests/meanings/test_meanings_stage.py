"""The stage in a run: its table, the verdicts, descriptions and views that rest on it; it is not done twice."""

from __future__ import annotations

import dataclasses
import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from small_run import write_run

from neurolocal import report
from neurolocal.meanings.described import described_parts, parts_text
from neurolocal.meanings.table import ranks_by_part
from neurolocal.pipeline.run import read_run, run_all
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.records import Neuron
from neurolocal.report.meanings import Meaning
from neurolocal.report.neuron_json import neuron_object
from neurolocal.report.page import page
from neurolocal.site.build import write_site
from neurolocal.store import Store, check
from neurolocal.summary import Describer

MODEL = Path(__file__).parents[1] / "store" / "golden_0_1_0" / "model"
TABLE = "[meanings]\nlevel = 1.0\nwords = 2\napart = 1.0\ncover = 0.0\n"
"""Divides whatever can be divided: this model has no neuron of several meanings."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    path = write_run(tmp_path_factory.mktemp("run"), MODEL, TABLE)
    path.write_text(path.read_text().replace("k = 4\n", "k = 16\n"))
    made = read_run(path)
    run_all(made, limit=2, say=lambda line: None)
    return made


@pytest.fixture(scope="module")
def divided(run) -> int:
    """A neuron with parts."""
    with Store(run.store) as store:
        table = store.evidence("meanings", 1)
        assert (table.n_parts > 1).any()
        return int(table.neuron[np.argmax(table.n_parts)])


def test_a_run_has_it_and_the_store_is_whole(run) -> None:
    with Store(run.store) as store:
        table = store.evidence("meanings", 1)
        assert table.neuron.tolist() == store.neurons(1).tolist()
        for neuron, n in zip(table.neuron.tolist(), table.n_parts.tolist(), strict=True):
            own = table.parts.neuron == neuron
            assert table.parts.part[own].tolist() == list(range(1, n + 1))
            members = table.members.neuron == neuron
            assert table.members.rank[members].tolist() == (list(range(len(store.examples(1, neuron)))) if n else [])
            for part, examples in zip(table.parts.part[own], table.parts.n_examples[own], strict=True):
                assert (table.members.part[members] == part).sum() == examples
    assert check(run.store, progress=False).faults == ()


def test_it_is_not_done_again_and_other_settings_are(run) -> None:
    said: list[str] = []
    workspace = Workspace(run.store, layers=(1,), sides=("largest",), vectors=run.vectors, say=said.append, bar=False)
    run_stage("meanings", workspace, run.configs["meanings"])
    assert said == ["meanings: layer 1 is there and its inputs are unchanged; not done again"]
    said.clear()
    run_stage("meanings", workspace, dataclasses.replace(run.configs["meanings"], seed=3))
    assert any("again, since" in line and "seed" in line for line in said), said
    run_stage("meanings", workspace, run.configs["meanings"])


def test_every_view_shows_the_parts(run, divided: int, tmp_path: Path) -> None:
    with Store(run.store) as store:
        shown = StringIO()
        report.show(store, 1, divided, out=shown, width=100)
        assert "meanings\n" in shown.getvalue()
        assert " · meaning 1" in shown.getvalue()
        found = neuron_object(store, 1, divided)
        table = store.evidence("meanings", 1)
        own = table.parts.neuron == divided
        assert [m["words"] for m in found["meanings"]] == [w.splitlines() for w in np.array(table.parts.words)[own]]
        assert [e["meaning"] or 0 for e in found["examples"]] == table.members.part[
            table.members.neuron == divided
        ].tolist()
        json.dumps(found, allow_nan=False)
        html = page(store, [1], cards=1000)
        assert '<ol class="meanings">' in html
        assert '<span class="part">meaning 1</span>' in html
    write_site(run.store, tmp_path / "site", processes=1, bar=False)
    site = (tmp_path / "site" / "neuron" / "1" / f"{divided}.html").read_text()
    assert '<ol class="meanings">' in site
    assert "<span class=part>meaning 1</span>" in site


def test_a_summary_describes_each_part(run) -> None:
    said: list[str] = []
    workspace = Workspace(run.store, layers=(1,), sides=("largest",), vectors=run.vectors, say=said.append, bar=False)
    run_stage("summary", workspace, dataclasses.replace(run.configs["summary"], limit=None))
    with Store(run.store) as store:
        table, parts = store.evidence("summary", 1), store.evidence("meanings", 1)
        ranks = ranks_by_part(parts)
        for neuron, description, each in zip(table.neuron.tolist(), table.description, table.parts, strict=True):
            found = described_parts(each)
            assert list(found) == sorted({part for rank, part in ranks.get(neuron, {}).items() if rank % 2 == 0})
            assert not found or description == "; ".join(dict.fromkeys(found.values()))
        one = next(n for n, each in zip(table.neuron.tolist(), table.parts, strict=True) if each)
        found = neuron_object(store, 1, one)["meanings"]
        assert len(found) > 1
        assert any(one["description"] for one in found)


def test_a_meaning_that_nothing_explains_is_left_out(run) -> None:
    with Store(run.store) as store:
        neuron = Neuron(0, store.examples(1, 0))
        describer = Describer(None, vocabulary=store.vocabulary, config=run.configs["summary"])
        found = describer.describe_parts(neuron, {0: 1, 1: 2, 2: 1, 3: 2})
        assert list(described_parts(found.parts)) == [1]
        assert found.description == described_parts(found.parts)[1] != "no examples"
        assert describer.describe_parts(neuron, {1: 1, 3: 2}) == describer.describe(neuron)


def test_a_score_measures_each_part(run) -> None:
    workspace = Workspace(run.store, layers=(1,), sides=("largest",), vectors=run.vectors, device="cpu", bar=False)
    run_stage("summary", workspace, dataclasses.replace(run.configs["summary"], limit=None))
    config = dataclasses.replace(run.configs["score"], limit=None, texts=3, rows=8, draws=20)
    run_stage("score", workspace, config)
    with Store(run.store) as store:
        table, summary = store.evidence("score", 1), store.evidence("summary", 1)
        described = {
            (neuron, part)
            for neuron, text in zip(summary.neuron.tolist(), summary.parts, strict=True)
            for part in described_parts(text)
        }
        scored = set(zip(table.parts.neuron.tolist(), table.parts.part.tolist(), strict=True))
        assert scored
        assert scored <= described
        assert set(table.parts.measure) == {"embedding_auprc", "embedding_auc"}  # there is no LLM
        known = np.isfinite(table.parts.value)
        assert known.any()
        assert ((table.parts.value[known] >= 0) & (table.parts.value[known] <= 1)).all()
        assert all(bool(said) != value for said, value in zip(table.parts.said, known, strict=True))
        assert "band" in table.texts.stratum
        one = int(table.parts.neuron[0])
        shown = StringIO()
        report.show(store, 1, one, out=shown, width=200)
        assert "embedding auprc " in shown.getvalue()
        assert all(m["scores"] for m in neuron_object(store, 1, one)["meanings"] if (one, m["part"]) in scored)
    assert check(run.store, progress=False).faults == ()


def test_the_title_of_a_meaning() -> None:
    assert Meaning(1, "", ["May", "June"], 1, 0.01, {}).title == "May, June (1 example)"
    assert Meaning(2, "months", ["a"] * 9, 4, 0.01, {}).title == "months: a, a, a, a, a, a, a, a… (4 examples)"
    scores = {"embedding_auc": (0.9, 0.5), "embedding_auprc": (0.25, 0.5)}
    assert Meaning(1, "", ["May"], 2, 0.01, scores).title == "May (2 examples; embedding auprc 0.25, another's 0.50)"
    assert parts_text({1: "months", 2: "a\nb"}) == "1\tmonths\n2\ta b"
    assert described_parts("1\tmonths\nno line\n2\ta\tb") == {1: "months", 2: "a\tb"}


def test_the_notebook_has_none(run, tmp_path: Path) -> None:
    from neurolocal.meanings.stage import STAGE

    workspace = Workspace(run.store, layers=(1,), sides=("largest",), method="notebook", bar=False)
    assert not STAGE.wanted(workspace, run.configs["meanings"])
