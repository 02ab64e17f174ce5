"""The score stage on a real store: what it measures, what it may see, and what a kill costs."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from small_run import neurolocal, write_corpus, write_vectors

from neurolocal.config import (
    CollectConfig,
    InterventionConfig,
    PerturbationConfig,
    ScoreConfig,
    SimilarityConfig,
    SummaryConfig,
    VerdictConfig,
)
from neurolocal.errors import StoreError
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.records import MEASURES, Neuron, ScoreTable
from neurolocal.score.promoted import direct, measured
from neurolocal.score.simulation import HEAD
from neurolocal.store import Store
from neurolocal.store.band_rows import bands_of
from neurolocal.summary.peaks import find_peaks
from neurolocal.summary.templates import certain

COLLECT = CollectConfig(row_length=48, k=6, max_rows=120, before=10, after=5, layers=(1, 3), sample=64)
SUMMARY = SummaryConfig(limit=5)
SCORE = ScoreConfig(limit=4, texts=3, rows=8, draws=40)

UNMEASURED = {"output_auc", "output_embedding_auc"}
"""Without a table of intervention."""


@pytest.fixture(scope="module")
def made(fixtures, tmp_path_factory) -> Path:
    """A folder with a store of stories260k, collected and perturbed."""
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.subject import load_subject

    folder = tmp_path_factory.mktemp("made")
    subject = load_subject(fixtures / "stories260k", device="cpu")
    corpus = write_corpus(folder / "corpus.jsonl", documents=60)
    write_vectors(folder / "vectors.txt")
    collect_store(Collection(subject, corpus, folder / "store.h5", COLLECT), say=lambda line: None, bar=False)
    few = PerturbationConfig(examples=3, neighbours=2, controls=2, permutations=30)
    run_stage("similarity", workspace(folder), SimilarityConfig(draws=30))
    run_stage("perturbation", workspace(folder, layers=(3,)), dataclasses.replace(few, screen=12))
    run_stage("verdict", workspace(folder), VerdictConfig())
    return folder


@pytest.fixture
def here(made: Path, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture
def gguf(fixtures) -> str:
    pytest.importorskip("llama_cpp")
    return str(fixtures / "stories260k" / "stories260K.gguf")


def workspace(here: Path, **more: Any) -> Workspace:
    given = {"vectors": str(here / "vectors.txt"), "device": "cpu", "bar": False, "sides": ("largest",)} | more
    return Workspace(here / "store.h5", given.pop("layers", (1, 3)), **{"say": lambda line: None, **given})


def table(path: Path, stage: str, layer: int) -> Any:
    with Store(path) as store:
        return store.evidence(stage, layer)


def same(a: Any, b: Any) -> bool:
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a == b


def test_every_measure_is_there_and_can_be_computed_again_from_the_texts(here: Path, gguf: str) -> None:
    run_stage("summary", workspace(here, llm=gguf), SUMMARY)
    run_stage("score", workspace(here, llm=gguf), SCORE)
    for layer in (1, 3):
        found: ScoreTable = table(here / "store.h5", "score", layer)
        described = table(here / "store.h5", "summary", layer)
        assert list(dict.fromkeys(found.neuron.tolist())) == described.neuron[:4].tolist()
        small = {m for m in MEASURES if not m.startswith(("simulation", "output_direct_auc"))} - UNMEASURED
        assert set(found.measure) == small, "a small LLM"
        known = ~np.isnan(found.value)
        assert known.mean() > 0.5
        assert ((found.value[known] >= 0) & (found.value[known] <= 1)).all()
        inside = known & ~np.isnan(found.low)
        assert (found.low[inside] <= found.high[inside]).all()
        assert all(bool(said) != bool(ok) for said, ok in zip(found.said, known, strict=True))
        texts = found.texts
        for i in np.flatnonzero(known):
            if found.measure[i] not in ("detection_auc", "fuzzing_auc"):
                continue
            mine = (texts.neuron == found.neuron[i]) & (np.array(texts.task) == found.measure[i].split("_")[0])
            yes, no = (texts.answer[mine & (texts.fires == fires)].astype(float) for fires in (True, False))
            pairs = (yes[:, None] > no).mean() + 0.5 * (yes[:, None] == no).mean()
            assert found.value[i] == pytest.approx(pairs)
            assert found.n[i] == mine.sum()
        with Store(here / "store.h5") as store:
            facts = store.inputs("score", layer)
        assert facts is not None
        assert facts["facts"]["way"] == "likelihood"
        assert len(facts["facts"]["heads"]) == 2
        assert facts["llm"]["sha256"]


def test_texts_come_from_rows_that_explain_nothing(here: Path, gguf: str) -> None:
    run_stage("summary", workspace(here, llm=gguf), SUMMARY)
    run_stage("score", workspace(here, llm=gguf), SCORE)
    with Store(here / "store.h5") as store:
        explain = set(store.sample.row[store.sample.explaining].tolist())
        for layer in (1, 3):
            texts = store.evidence("score", layer).texts
            for neuron in set(texts.neuron.tolist()):
                examples = store.examples(layer, neuron)
                even = {e.row for e in examples if e.rank % 2 == 0}
                odd = {e.row for e in examples if e.rank % 2 == 1}
                mine = texts.neuron == neuron
                for row, stratum in zip(texts.row[mine].tolist(), np.array(texts.stratum)[mine].tolist(), strict=True):
                    assert row not in even
                    assert (row in odd) == (stratum in ("example", "right", "wrong"))
                    assert row in odd or row not in explain


def test_what_is_unchanged_is_not_done_again(here: Path, gguf: str) -> None:
    said: list[str] = []
    run_stage("summary", workspace(here, llm=gguf), SUMMARY)
    run_stage("score", workspace(here, llm=gguf), SCORE)
    before = (here / "store.h5").read_bytes()
    run_stage("score", workspace(here, llm=gguf, say=said.append), SCORE)
    assert [line for line in said if not line.startswith("vectors")] == [
        "score: layers 1, 3 are there and their inputs are unchanged; not done again"
    ]
    assert (here / "store.h5").read_bytes() == before
    said.clear()
    run_stage("score", workspace(here, llm=gguf, say=said.append), dataclasses.replace(SCORE, seed=1))
    assert "score: layer 1 again, since config.seed: 0 -> 1" in said


def test_without_an_llm_the_rest_is_measured(here: Path) -> None:
    said: list[str] = []
    run_stage("summary", workspace(here), SUMMARY)
    run_stage("score", workspace(here, say=said.append), SCORE)
    assert "score: no --llm given, so detection and fuzzing are left out" in said
    found = table(here / "store.h5", "score", 3)
    asked = ("detection", "fuzzing", "simulation", "output_auc", "output_direct_auc")
    assert set(found.measure) == {m for m in MEASURES if not m.startswith(asked)} - UNMEASURED
    assert np.isnan(found.texts.answer).all()
    assert any(line.startswith("layer 3 largest: firing f1 ") for line in said)


def test_an_llm_that_is_asked_simulates_too(here: Path, gguf: str, monkeypatch) -> None:
    run_stage("summary", workspace(here, llm=gguf, layers=(3,)), SUMMARY)
    monkeypatch.setattr("neurolocal.llm.model.CHAT_FROM", 0)
    config = dataclasses.replace(SCORE, limit=2, texts=2, simulated=1, draws=20)
    run_stage("score", workspace(here, llm=gguf, layers=(3,)), config)
    found: ScoreTable = table(here / "store.h5", "score", 3)
    assert set(found.measure) == set(MEASURES) - UNMEASURED
    task, of = np.array(found.texts.task), np.array([m == "simulation_pearson" for m in found.measure])
    assert found.n[of].sum() == (task == "simulation").sum() > 0
    assert (np.abs(found.value[of]) <= 1).any()
    expected = found.texts.answer[task == "simulation"]
    assert ((expected > 0) & (expected < 10)).all()
    with Store(here / "store.h5") as store:
        facts = store.inputs("score", 3)
    assert facts is not None
    assert facts["facts"]["heads"][-1] == HEAD


def test_what_neurons_promote_is_scored_where_it_was_measured(here: Path) -> None:
    config = InterventionConfig(limit=None, examples=1, places=2, controls=2, tokens=5)
    run_stage("summary", workspace(here, layers=(3,)), SUMMARY)
    run_stage("score", workspace(here, layers=(3,)), SCORE)
    said: list[str] = []
    run_stage("intervention", workspace(here, layers=(3,)), dataclasses.replace(config, limit=30))
    run_stage("score", workspace(here, layers=(3,), say=said.append), SCORE)
    assert any(line.startswith("score: layer 3 again, since intervention") for line in said)
    found: ScoreTable = table(here / "store.h5", "score", 3)
    changed = table(here / "store.h5", "intervention", 3)
    of = [i for i, m in enumerate(found.measure) if m == "output_embedding_auc"]
    assert {int(found.neuron[i]) for i in of} == set(found.neuron.tolist()) & set(changed.neuron.tolist())
    assert of, "the test would show nothing"
    assert all(0 < found.n[i] <= 29 for i in of if found.value[i] == found.value[i])
    with Store(here / "store.h5") as store:
        listed, effects = measured(store, 3, "largest"), store.logit_effects(3)
        assert effects is not None
        tokens = changed.tokens
        for neuron, texts in listed.items():
            at = (tokens.neuron == neuron) & (tokens.difference > 0) & (np.array(tokens.change) == "x3")
            assert texts == [t for t in store.vocabulary.str_tokens(tokens.token[at]) if t]
        for side, ids in (("largest", effects.promoted), ("smallest", effects.suppressed)):
            lists = direct(store, 3, side)
            assert lists[7] == [t for t in store.vocabulary.str_tokens(ids[store.index_of(3, 7)]) if t]


def test_without_descriptions_it_is_said(here: Path) -> None:
    with pytest.raises(StoreError, match=r"has none of these layers and sides\. Run `neurolocal summary` first"):
        run_stage("score", workspace(here), SCORE)
    run_stage("summary", workspace(here, layers=(3,)), SUMMARY)
    run_stage("score", workspace(here), SCORE)
    assert table(here / "store.h5", "score", 1) is None


def test_what_fails_for_one_neuron_is_said_there(here: Path, gguf: str, monkeypatch) -> None:
    from neurolocal.score.classifier import Classifier

    run_stage("summary", workspace(here, llm=gguf), SUMMARY)
    plain, bad = Classifier.answers, table(here / "store.h5", "summary", 3).description[1]

    def answers(self, task, texts, descriptions):
        if descriptions[0] == bad and task == "fuzzing":
            raise RuntimeError("llama_decode\nreturned 1")
        return plain(self, task, texts, descriptions)

    monkeypatch.setattr(Classifier, "answers", answers)
    run_stage("score", workspace(here, llm=gguf, layers=(3,)), SCORE)
    found = table(here / "store.h5", "score", 3)
    described = table(here / "store.h5", "summary", 3)
    of_bad = {int(n) for n, d in zip(described.neuron[:4], described.description[:4], strict=True) if d == bad}
    for neuron, measure, said, value in zip(found.neuron, found.measure, found.said, found.value, strict=True):
        if measure == "fuzzing_auc" and int(neuron) in of_bad:
            assert said == "RuntimeError: llama_decode returned 1"
            assert np.isnan(value)
        else:
            assert "RuntimeError" not in said
    assert len(set(found.neuron.tolist())) == 4


def test_no_example_or_row_that_scores_is_in_any_prompt(here: Path, gguf: str, monkeypatch) -> None:
    """Every row that scores is filled with a marker, but for the peaks; then everything that an LLM reads is searched.

    A row explains for one neuron and scores for another, so only neurons are described whose own score half lies in
    marked rows, and whose explain half does not.
    """
    path = here / "store.h5"
    with Store(path) as store:
        given = [Neuron(n, store.examples(3, n)) for n in range(172)]
        # What the counts say for certain is never asked about.
        neurons = [n.neuron for n in given if certain(find_peaks(n, store.vocabulary)) is None]
        halves = {n: [{e.row for e in store.examples(3, n) if e.rank % 2 == odd} for odd in (0, 1)] for n in neurons}
        scoring = set(store.sample.row[~store.sample.explaining].tolist())
        explaining, bands = set(store.sample.row[store.sample.explaining].tolist()), bands_of(store, 3, "largest")
        for n, (even, odd) in halves.items():  # rows of bands score and explain, too
            listed = even | odd
            even |= {b.explains.row for b in bands(n) if b.explains is not None} - listed - scoring
            odd |= {r.row for b in bands(n) for r in b.scoring} - listed - explaining
        index = store.row_index.tolist()
        marker = int(np.argmax([t == b" Z" or t == b"Z" for t in store.vocabulary.tokens]))
        assert store.vocabulary.tokens[marker].strip() == b"Z"
    chosen, marked, clean = list[int](), set(scoring), set[int]()
    for n in neurons:
        even, odd = halves[n]
        if not even & (marked | odd) and not odd & clean:
            chosen.append(n)
            marked |= odd
            clean |= even
    assert chosen, "the test would show nothing"
    with h5py.File(path, "r+") as file:
        tokens = file["rows/tokens"][:]
        for row in marked:
            tokens[index.index(row), 1:] = marker
        file["rows/tokens"][:] = tokens
    prompts: list[str] = []
    monkeypatch.setattr("neurolocal.llm.model.CHAT_FROM", 0)
    monkeypatch.setattr("neurolocal.summary.stage.best", lambda *_: chosen)
    from neurolocal.llm.model import LLM

    plain = LLM._decode

    def decode(self, entries):
        prompts.append(self.text([e[0] for e in entries]))
        return plain(self, entries)

    monkeypatch.setattr(LLM, "_decode", decode)
    run_stage("summary", workspace(here, llm=gguf, layers=(3,)), SummaryConfig(limit=None, max_tokens=1, samples=1))
    found = table(path, "summary", 3)
    assert found.neuron.tolist() == chosen
    kept = "\n".join(found.prompt)
    assert "Contexts" in kept
    assert "ZZ" not in kept.replace(" ", "")
    assert "ZZ" not in "".join(prompts).replace(" ", "")
    with Store(path) as store:  # the marker is there to be found
        odd = [e for n in chosen for e in store.examples(3, n) if e.rank % 2 == 1]
        assert all("ZZ" in store.vocabulary.text(e.tokens).replace(" ", "") for e in odd)


@pytest.mark.slow
def test_a_run_that_is_killed_twice_resumes(here: Path, made: Path, tmp_path, gguf: str) -> None:
    """`summary` and `score` by the command line, each killed twice (-9) at some neuron: the store of one run."""
    whole = Path(shutil.copytree(made, tmp_path / "whole"))
    common = ["--layers", "1,3", "--side", "largest", "--vectors", "vectors.txt", "--llm", gguf]
    steps = [
        ["summary", "store.h5", *common, "--limit", "12"],
        ["score", "store.h5", *common, "--limit", "12", "--texts", "3", "--rows", "8", "--device", "cpu"],
    ]
    for step in steps:
        done = neurolocal(*step, cwd=whole)
        assert done.returncode == 0, done.stderr
        for kill, least in ((1, 3), (2, 8)):
            journals = [here / f"store.h5.{step[0]}-{layer}.jsonl" for layer in (1, 3)]
            command = [sys.executable, "-c", "from neurolocal.cli.main import main; main()", *step]
            running = subprocess.Popen(command, cwd=here, stderr=subprocess.DEVNULL, env=dict(os.environ))
            while running.poll() is None and _lines(journals) < least:
                time.sleep(0.002)
            assert running.poll() is None, f"kill {kill} of {step[0]} came too late"
            running.send_signal(signal.SIGKILL)
            running.wait()
            assert _lines(journals) < 26
        done = neurolocal(*step, cwd=here)
        assert done.returncode == 0, done.stderr
        for layer in (1, 3):
            one, other = (table(folder / "store.h5", step[0], layer) for folder in (here, whole))
            assert same(one, other)
        assert not list(here.glob("*.jsonl.tmp")) + list(here.glob(f"store.h5.{step[0]}-*"))
    printed = neurolocal(*steps[1], "--json", cwd=here)
    listed = json.loads(printed.stdout)
    assert {(one["layer"], one["side"]) for one in listed} == {(1, "largest"), (3, "largest")}
    assert {"measure", "n", "value", "control", "above", "low", "high"} <= set(listed[0])


def _lines(paths: list[Path]) -> int:
    """Neurons in journals, of a layer that is written counted once more."""
    return sum(len(p.read_text().splitlines()) for p in paths if p.exists())
