"""A whole run on a model with experts: every stage without an LLM, and what the views say of an expert's neuron."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from experts_twins import sparse_folder
from small_run import write_corpus, write_vectors

from neurolocal import report
from neurolocal.collect.replay import replay
from neurolocal.config import CollectConfig
from neurolocal.errors import StoreError
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.store import Store, check, find
from neurolocal.subject import load_subject


@pytest.fixture(scope="module")
def done(tmp_path_factory, fixtures) -> Any:
    """A store of Qwen2-MoE: layer 0 and 2 with five experts of 24 neurons and a shared one of 40, layer 1 dense."""
    folder = tmp_path_factory.mktemp("run")
    subject = sparse_folder("Qwen2Moe", folder / "model", tokenizer_from=fixtures / "stories260k")
    corpus, vectors = write_corpus(folder / "c.jsonl"), write_vectors(folder / "v.txt")
    config = CollectConfig(row_length=32, k=6, before=8, after=3, sample=60, layers=(1, 2))
    job = Collection(load_subject(str(subject)), corpus, folder / "s.h5", config)
    collect_store(job, say=lambda line: None, bar=False)
    said: list[str] = []
    workspace = Workspace(job.store, vectors=str(vectors), bar=False, say=said.append)
    for stage in ("similarity", "perturbation", "summary", "verdict", "score"):
        run_stage(stage, workspace)
    return SimpleNamespace(store=job.store, subject=job.subject, said=said, folder=folder)


def test_every_stage_has_its_table_and_the_store_is_whole(done) -> None:
    assert not check(done.store, progress=False).faults
    with Store(done.store) as store:
        for layer in (1, 2):
            verdicts = store.evidence("verdict", layer)
            assert len(verdicts.neuron) == (48 if layer == 1 else 160)
            tested = store.evidence("perturbation", layer)
            assert tested is not None
            assert np.isfinite(tested.substitutes.activation).all()  # a branch routed elsewhere is 0, never NaN
        assert (store.evidence("perturbation", 2).substitutes.activation == 0).any()
        assert store.evidence("score", 2) is not None


def test_the_originals_are_the_stores(done) -> None:
    """The words themselves, run again in packed passes, have the activations of the lists."""
    with Store(done.store) as store:
        table = store.evidence("perturbation", 2).substitutes
        top = store.top(2, "largest")
        own = np.array([kind == "original" for kind in table.kind])
        assert own.any()
        stored = top.activation[table.neuron[own], table.rank[own]]
        np.testing.assert_allclose(table.activation[own], stored, rtol=1e-3, atol=1e-5)


def test_report_json_and_csv_name_the_expert(done) -> None:
    with Store(done.store) as store:
        found = json.loads(report.report_json(store, report.report_rows(store)))
        dense = json.loads(report.report_json(store, report.report_rows(store, [1])))
        rows = list(csv.DictReader(io.StringIO(report.report_csv(report.report_rows(store)))))
        plain = report.report_csv(report.report_rows(store, [1])).splitlines()[0]
        experts = store.experts(2)
        assert experts is not None
        tokens = store.manifest["tokens"]
    assert "experts" not in dense
    assert not any("expert" in neuron for neuron in dense["neurons"])
    assert "expert" not in plain.split(",")
    assert found["experts"]["2"]["offsets"] == [0, 24, 48, 72, 96, 120, 160]
    assert found["experts"]["2"]["shared"] == 1
    routed = found["experts"]["2"]["routed"]
    assert routed[5] == 1
    assert sum(routed[:5]) == pytest.approx(2)
    by = {neuron["neuron"]: neuron for neuron in found["neurons"] if neuron["layer"] == 2}
    assert (by[50]["expert"], by[50]["expert_neuron"], by[50]["name"]) == (2, 2, "expert 2 · neuron 2")
    assert by[50]["routed"] == pytest.approx(experts.count[2] / tokens)
    assert (by[125]["expert"], by[125]["name"], by[125]["routed"]) == (5, "shared expert · neuron 5", 1)
    line = next(row for row in rows if row["layer"] == "2" and row["neuron"] == "50")
    assert (line["expert"], line["expert_neuron"]) == ("2", "2")


def test_show_page_and_table_name_the_expert(done, tmp_path) -> None:
    with Store(done.store) as store:
        experts = store.experts(2)
        assert experts is not None
        share = f"{round(100 * experts.count[2] / store.manifest['tokens'])} %"
        out = io.StringIO()
        report.show(store, 2, store.neuron_of(2, 2, 2), out=out)
        shown = out.getvalue()
        assert "layer 2 · neuron 50 (expert 2 · neuron 2)" in shown
        assert f"positions, the {share} that were routed to its expert" in shown
        assert "NaN" not in shown
        out = io.StringIO()
        report.show(store, 2, 125, out=out)
        assert "(shared expert · neuron 5)" in out.getvalue()
        out = io.StringIO()
        report.show(store, 1, 5, out=out)
        assert "expert" not in out.getvalue()
        page = report.page(store, cards=200)
        assert "layer 2 · neuron 50 (expert 2 · neuron 2)" in page
        assert "positions routed to an expert" in page
        assert "5 and a shared one" in page
        assert ">nan<" not in page.lower()
        out = io.StringIO()
        report.print_table(report.report_rows(store, [2]), out=out)
        assert "expert · neuron" in out.getvalue()
        out = io.StringIO()
        report.print_table(report.report_rows(store, [1]), out=out)
        assert "expert" not in out.getvalue()


def test_an_expert_or_neuron_that_is_not_there(done) -> None:
    with Store(done.store) as store:
        assert store.neuron_of(2, 5, 39) == 159
        with pytest.raises(StoreError, match=r"expert 6 of layer 2 in .*: it has experts 0 to 5"):
            store.neuron_of(2, 6, 0)
        with pytest.raises(StoreError, match=r"expert 0 of layer 1 in .*: it has no experts"):
            store.neuron_of(1, 0, 0)
        with pytest.raises(StoreError, match=r"neuron 24 of expert 0 .*the expert has neurons 0 to 23"):
            store.neuron_of(2, 0, 24)


def test_replay_and_find(done) -> None:
    with Store(done.store) as store:
        again = replay(store, done.subject, n=60)
        assert again.examples == 60
        assert not again.off
        word = next(iter(store.vocabulary.word_counts(store.iter_rows())))
        assert isinstance(find(store, word, word=True), list)


def test_a_neuron_whose_expert_is_never_asked_is_dead(done, tmp_path) -> None:
    import torch

    from neurolocal.config import VerdictConfig
    from neurolocal.verdict.evidence import Evidence
    from neurolocal.verdict.rules import decide

    subject = done.subject
    bias = subject.model.model.layers[2].mlp.gate.weight.clone()
    with torch.no_grad():
        subject.model.model.layers[2].mlp.gate.weight[3] = 0  # never among the two largest of five, or hardly
        subject.model.model.layers[2].mlp.gate.weight[:3] *= 50
        subject.model.model.layers[2].mlp.gate.weight[4] *= 50
    try:
        config = CollectConfig(row_length=32, k=3, before=2, after=2, sample=9, layers=(2,), logits=0, max_rows=1)
        job = Collection(subject, Path(done.folder / "c.jsonl"), tmp_path / "s.h5", config)
        collect_store(job, say=lambda line: None, bar=False)
    finally:
        with torch.no_grad():
            subject.model.model.layers[2].mlp.gate.weight.copy_(bias)
    with Store(tmp_path / "s.h5") as store:
        experts = store.experts(2)
        assert experts is not None
        unasked = np.flatnonzero(experts.count == 0)
    run_stage("verdict", Workspace(tmp_path / "s.h5", bar=False, say=lambda line: None))
    with Store(tmp_path / "s.h5") as store:
        table = store.evidence("verdict", 2)
        for expert in unasked:
            for neuron in range(experts.offsets[expert], experts.offsets[expert + 1]):
                assert table.verdict[neuron] == "dead"
                assert table.reason[neuron] == "no position was routed to its expert"
    verdict, reason = decide(Evidence({}, 0, 0, 0.0, expert=True), VerdictConfig())
    assert (verdict, reason) == ("dead", "no position was routed to its expert")
