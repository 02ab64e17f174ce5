"""Stages on a store: what is reused, done again, refused, and resumed."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import neurolocal, write_corpus, write_vectors

from neurolocal.config import CollectConfig, PerturbationConfig, SimilarityConfig, SummaryConfig, VerdictConfig
from neurolocal.errors import LLMError, StoreError
from neurolocal.pipeline.journal import Journal
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.store import Store, add_evidence

COLLECT = CollectConfig(row_length=48, k=5, max_rows=24, before=6, after=3)
SIMILARITY = SimilarityConfig(draws=30)
PERTURBATION = PerturbationConfig(screen=5, examples=3, neighbours=2, controls=2, permutations=30)
SUMMARY = SummaryConfig(limit=4)
LAYERS = (1, 3)


@pytest.fixture(scope="module")
def made(fixtures, tmp_path_factory) -> Path:
    """A folder with a collected store, its corpus, and vectors."""
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.subject import load_subject

    folder = tmp_path_factory.mktemp("made")
    subject = load_subject(fixtures / "stories260k", device="cpu")
    corpus = write_corpus(folder / "corpus.jsonl")
    write_vectors(folder / "vectors.txt")
    collect_store(Collection(subject, corpus, folder / "store.h5", COLLECT), say=lambda line: None, bar=False)
    return folder


@pytest.fixture
def here(made: Path, tmp_path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "run"))


class Talk(list[str]):
    def __init__(self) -> None:
        self.ends: list[str] = []

    def workspace(self, here: Path, **more: Any) -> Workspace:
        self.clear()
        given = {"layers": LAYERS, "vectors": str(here / "vectors.txt"), "device": "cpu", "bar": False} | more
        given.setdefault("sides", ("largest",))
        return Workspace(here / "store.h5", say=self.hear, **given)

    def hear(self, line: str) -> None:
        """Everything but what is said each time: of the vectors, of chance, and the end of a stage."""
        if re.search(r" (is|are) in ", line) and line.endswith(" s"):
            self.ends.append(line)
        elif not line.startswith("vectors: vectors.txt, centred: Spearman") and "dealt to them at random" not in line:
            self.append(line)


@pytest.fixture
def talk() -> Talk:
    return Talk()


def table(here: Path, stage: str, layer: int) -> dict[str, Any]:
    with Store(here / "store.h5") as store:
        found = store.evidence(stage, layer)
    return dataclasses.asdict(found)


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    def same(a: Any, b: Any) -> bool:
        if isinstance(a, dict):
            return equal(a, b)
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a == b

    return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)


def test_a_second_run_reuses_and_says_so(here: Path, talk: Talk) -> None:
    run_stage("similarity", talk.workspace(here), SIMILARITY)
    assert talk == []
    before = (here / "store.h5").read_bytes()
    run_stage("similarity", talk.workspace(here), SIMILARITY)
    assert talk == ["similarity: layers 1, 3 are there and their inputs are unchanged; not done again"]
    assert (here / "store.h5").read_bytes() == before


def test_changes_are_done_again_and_named(here: Path, talk: Talk) -> None:
    run_stage("similarity", talk.workspace(here), SIMILARITY)
    run_stage("similarity", talk.workspace(here), dataclasses.replace(SIMILARITY, draws=40))
    assert talk == [f"similarity: layer {layer} again, since config.draws: 30 -> 40" for layer in LAYERS]
    write_vectors(here / "vectors.txt", seed=4)
    run_stage("similarity", talk.workspace(here), dataclasses.replace(SIMILARITY, draws=40))
    assert all("again, since vectors.sha256: " in line for line in talk)
    assert len(talk) == 2


def test_only_what_is_missing_is_done(here: Path, talk: Talk) -> None:
    run_stage("similarity", talk.workspace(here, layers=(1,)), SIMILARITY)
    before = table(here, "similarity", 1)
    run_stage("similarity", talk.workspace(here), SIMILARITY)
    assert talk == ["similarity: layer 1 is there and its inputs are unchanged; not done again"]
    assert equal(table(here, "similarity", 1), before)
    assert table(here, "similarity", 3)["neuron"].tolist() == list(range(172))


def test_a_verdict_follows_its_evidence(here: Path, talk: Talk) -> None:
    run_stage("verdict", talk.workspace(here), VerdictConfig())
    run_stage("similarity", talk.workspace(here), SIMILARITY)
    run_stage("verdict", talk.workspace(here), VerdictConfig())
    assert [line.split(":")[0] for line in talk] == ["verdict"] * 3
    assert sum("has no perturbation yet" in line for line in talk) == 1
    assert sum("again, since similarity: null -> " in line for line in talk) == 2
    run_stage("verdict", talk.workspace(here), VerdictConfig())
    assert "unchanged" in talk[0]
    assert sorted(table(here, "verdict", 1)["rank"].tolist()) == list(range(172))


def test_both_ends_have_evidence_of_their_own(here: Path, talk: Talk) -> None:
    config = dataclasses.replace(PERTURBATION, screen=None)
    for sides in (("largest",), ("largest", "smallest")):
        workspace = talk.workspace(here, sides=sides, layers=(1,))
        run_stage("similarity", workspace, SIMILARITY)
        run_stage("perturbation", workspace, config)
        run_stage("verdict", workspace, VerdictConfig())
    assert len([line for line in talk if "layer 1 is there" in line]) == 3, "the largest side is done again"
    with Store(here / "store.h5") as store:
        for stage in ("similarity", "perturbation", "verdict"):
            ends = [store.evidence(stage, 1, side) for side in ("largest", "smallest")]
            assert not equal(*(dataclasses.asdict(end) for end in ends))
        originals = [
            store.evidence("perturbation", 1, side).substitutes.activation[0] for side in ("largest", "smallest")
        ]
        assert originals[1] < 0 < originals[0]
        facts = store.inputs("similarity", 1, "smallest")["facts"]
    assert facts["name"] == "vectors.txt, centred"
    assert facts["coverage"]["tokens"] > 0.5


def test_a_sign_case_that_was_not_collected_is_refused(here: Path, talk: Talk) -> None:
    with pytest.raises(
        StoreError, match=r"gate-_in- of layer 1: .* holds largest, smallest\. Collect with --sign-cases"
    ):
        run_stage("similarity", talk.workspace(here, sides=("gate-_in-",)), SIMILARITY)


def test_perturbation_of_the_screened(here: Path, talk: Talk) -> None:
    with pytest.raises(StoreError, match=r"layer 1.*Run `neurolocal similarity` first, or .* without --screen"):
        run_stage("perturbation", talk.workspace(here), PERTURBATION)
    run_stage("similarity", talk.workspace(here), SIMILARITY)
    run_stage("perturbation", talk.workspace(here), PERTURBATION)
    found, coherent = table(here, "perturbation", 3), table(here, "similarity", 3)
    best = sorted(np.flatnonzero(~np.isnan(coherent["p"])), key=lambda i: (coherent["p"][i], -coherent["z"][i], i))[:5]
    assert found["neuron"].tolist() == sorted(coherent["neuron"][best].tolist())


@pytest.mark.parametrize("what", ["weights", "a tokenizer"])
def test_another_subject_is_refused(what: str, here: Path, fixtures, talk: Talk) -> None:
    other = here / "other"
    shutil.copytree(fixtures / "stories260k", other, copy_function=shutil.copyfile)
    if what == "weights":
        config = json.loads((other / "config.json").read_text())
        (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-4}))
    else:
        tokenizer = json.loads((other / "tokenizer.json").read_text())
        merges = tokenizer["model"]["merges"]
        merges.append(merges.pop(0))
        (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    before = (here / "store.h5").read_bytes()
    whole = dataclasses.replace(PERTURBATION, screen=None)
    with pytest.raises(StoreError) as caught:
        run_stage("perturbation", talk.workspace(here, subject=str(other)), whole)
    text = str(caught.value)
    assert str(here / "store.h5") in text
    assert f"the store was made by other {what} (SHA-256 " in text
    assert "collect again" in text
    assert "\n" not in text
    assert (here / "store.h5").read_bytes() == before


@pytest.mark.parametrize("stage", ["similarity", "perturbation", "verdict", "summary"])
def test_a_layer_that_is_not_there(stage: str, here: Path, talk: Talk) -> None:
    configs = {"similarity": SIMILARITY, "perturbation": PERTURBATION, "verdict": VerdictConfig(), "summary": SUMMARY}
    with pytest.raises(StoreError, match=r"looking for layer 7 in .*: it holds layers 0-4"):
        run_stage(stage, talk.workspace(here, layers=(1, 7)), configs[stage])
    found = sorted(p.name for p in here.iterdir() if p.suffix != ".lock")
    assert found == ["corpus.jsonl", "store.h5", "vectors.txt"]


def test_an_unfinished_collection_is_not_analysed(here: Path, fixtures, talk: Talk) -> None:
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.subject import load_subject

    subject = load_subject(fixtures / "stories260k", device="cpu")
    (here / "store.h5").unlink()
    job = Collection(subject, here / "corpus.jsonl", here / "store.h5", COLLECT)
    outcome = collect_store(job, say=talk.append, stop=lambda: True, bar=False)
    assert outcome is not None
    assert not outcome.complete
    with pytest.raises(StoreError, match=r"stopped at row 8\. Run the same `neurolocal collect` again to finish it"):
        run_stage("similarity", talk.workspace(here), SIMILARITY)


def test_no_llm_describes_from_counts_and_says_so(here: Path, talk: Talk) -> None:
    run_stage("summary", talk.workspace(here), SUMMARY)
    assert "summary: no --llm given, so descriptions come from token counts alone" in talk
    found = table(here, "summary", 1)
    assert len(found["neuron"]) == 4
    assert "llm" not in found["source"]
    assert all(found["description"])


def test_an_llm_that_is_missing(here: Path, talk: Talk) -> None:
    before = (here / "store.h5").read_bytes()
    with pytest.raises(LLMError) as caught:
        run_stage("summary", talk.workspace(here, llm=str(here / "no.gguf")), SUMMARY)
    assert str(here / "no.gguf") in str(caught.value)
    assert "Give one with --llm FILE.gguf, or `llm` in RUN.toml; or none." in str(caught.value)
    assert (here / "store.h5").read_bytes() == before
    assert not list(here.glob("*.jsonl*.tmp")) + list(here.glob("store.h5.*"))


class KilledError(Exception):
    pass


def killed_after(n: int, monkeypatch) -> list[int]:
    """A journal that stops the run behind its n-th line; the neurons it took."""
    add, taken = Journal.add, []

    def once(self, part, evidence) -> None:
        if len(taken) == n:
            raise KilledError
        add(self, part, evidence)
        taken.append(part)

    monkeypatch.setattr(Journal, "add", once)
    return taken


@pytest.mark.parametrize("with_llm", [False, True])
def test_a_summary_that_was_killed_is_resumed_and_equals_one_run(
    with_llm: bool, here: Path, made: Path, tmp_path, fixtures, talk: Talk, monkeypatch
) -> None:
    if with_llm:
        pytest.importorskip("llama_cpp")
    llm = str(fixtures / "stories260k" / "stories260K.gguf") if with_llm else None
    whole = Path(shutil.copytree(made, tmp_path / "whole"))
    run_stage("summary", talk.workspace(whole, llm=llm), SUMMARY)
    with monkeypatch.context() as patch:
        first = killed_after(2, patch)
        with pytest.raises(KilledError):
            run_stage("summary", talk.workspace(here, llm=llm), SUMMARY)
    journal = here / "store.h5.summary-1.jsonl"
    assert len(journal.read_text().splitlines()) == 3
    with journal.open("a") as file:
        file.write('{"part": 3, "evid')  # cut short by a kill
    with monkeypatch.context() as patch:
        second = killed_after(100, patch)
        run_stage("summary", talk.workspace(here, llm=llm), SUMMARY)
    assert not set(first) & set(second[:2]), "what was described is described again"
    assert len(first) + len(second) == 8
    for layer in LAYERS:
        assert equal(table(here, "summary", layer), table(whole, "summary", layer))
    assert not list(here.glob("*.summary-*")), "a journal was left"


def test_a_journal_of_other_inputs_is_not_resumed(here: Path, talk: Talk, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        killed_after(2, patch)
        with pytest.raises(KilledError):
            run_stage("summary", talk.workspace(here), SUMMARY)
    with monkeypatch.context() as patch:
        taken = killed_after(100, patch)
        run_stage("summary", talk.workspace(here), dataclasses.replace(SUMMARY, seed=1))
    assert len(taken) == 8


@pytest.mark.slow
def test_the_notebooks_method_end_to_end(here: Path, talk: Talk) -> None:
    pytest.importorskip("gensim")
    run_stage("similarity", talk.workspace(here, vectors="corpus"), SimilarityConfig(method="notebook", threshold=0.3))
    coherent = table(here, "similarity", 3)
    assert coherent["kept"].any(), "the test would show nothing"
    assert (coherent["score"][coherent["kept"]] >= 0.3).all()
    run_stage("perturbation", talk.workspace(here, vectors="corpus"), PerturbationConfig(method="notebook"))
    assert set(table(here, "perturbation", 3)["neuron"]) <= set(coherent["neuron"][coherent["kept"]])
    run_stage("verdict", talk.workspace(here, vectors="corpus", method="notebook"), VerdictConfig())
    run_stage("summary", talk.workspace(here, vectors="corpus"), SummaryConfig(method="notebook", limit=3))
    assert len(table(here, "summary", 3)["description"]) <= 3
    run_stage("similarity", talk.workspace(here, vectors="corpus"), SimilarityConfig(method="notebook", threshold=0.3))
    assert "unchanged" in talk[0], "vectors trained on the same corpus count as others"


@pytest.mark.slow
def test_the_whole_pipeline_by_the_command_line(fixtures, tmp_path) -> None:
    write_corpus(tmp_path / "corpus.jsonl")
    write_vectors(tmp_path / "vectors.txt")
    model = fixtures / "stories260k"
    common = ["--layers", "1,3", "--vectors", "vectors.txt"]
    shape = ["--row-length", 48, "--k", 5, "--max-rows", 24, "--before", 6, "--after", 3, "--device", "cpu"]
    steps = [
        ["collect", "--subject", model, "--corpus", "corpus.jsonl", "--store", "s.h5", *shape],
        ["similarity", "s.h5", "--draws", 30, *common],
        ["perturbation", "s.h5", "--screen", 5, "--examples", 3, "--subject", model, "--device", "cpu", *common],
        ["verdict", "s.h5", "--layers", "1,3"],
        ["summary", "s.h5", "--limit", 3, "--llm", model / "stories260K.gguf", *common],
    ]
    for again in (False, True):
        for step in steps:
            done = neurolocal(*step, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            assert done.stdout == ""
            said = "nothing to do" if step[0] == "collect" else "not done again"
            assert (said in done.stderr) == again, (step[0], done.stderr)
    report = neurolocal("report", "s.h5", "--json", cwd=tmp_path)
    neurons = json.loads(report.stdout)["neurons"]
    assert {n["layer"] for n in neurons} == {1, 3}
    assert len(neurons) == 2 * 172
    fields = ["layer", "neuron", "rank", "score", "verdict", "description", "tokens", "similarity", "perturbation"]
    assert all(name in n for n in neurons for name in fields)
    assert sum(bool(n["description"]) for n in neurons) >= 6
    csv = neurolocal("report", "s.h5", "--csv", "--layer", 3, "--limit", 4, cwd=tmp_path)
    assert len(csv.stdout.splitlines()) == 5
    page = neurolocal("report", "s.h5", "--html", "page.html", cwd=tmp_path)
    assert page.returncode == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert 'src="' not in text
    shown = neurolocal("show", "s.h5", 3, neurons[-1]["neuron"], cwd=tmp_path)
    assert shown.returncode == 0
    assert f"neuron {neurons[-1]['neuron']}" in shown.stdout
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".lock") == [
        "corpus.jsonl",
        "page.html",
        "s.h5",
        "vectors.txt",
    ]


def test_what_an_llm_made_is_not_replaced_by_what_is_made_without_one(here) -> None:
    talk = Talk()
    run_stage("summary", talk.workspace(here, layers=(1,)), SUMMARY)
    store = here / "store.h5"
    with Store(store) as read:
        made, site = read.evidence("summary", 1), read.site
        inputs = dict(read.inputs("summary", 1) or {}) | {"llm": {"name": "wise.gguf", "sha256": "0" * 64}}
    add_evidence(store, [("summary", 1, "largest", made, inputs)], site=site)
    before = store.read_bytes()
    with pytest.raises(StoreError, match=r"layer 1 was made with the LLM wise\.gguf, and no LLM is given.* Pass --llm"):
        run_stage("summary", talk.workspace(here, layers=(1,)), SUMMARY)
    assert store.read_bytes() == before
    run_stage("summary", talk.workspace(here, layers=(1,), replace=True), SUMMARY)
    with Store(store) as read:
        assert (read.inputs("summary", 1) or {})["llm"] is None


def test_a_stage_ends_with_a_line(here: Path, talk: Talk) -> None:
    run_stage("similarity", talk.workspace(here), SIMILARITY)
    (line,) = talk.ends
    assert line.startswith(f"similarity: layers 1, 3 are in {here / 'store.h5'}, ")
    run_stage("similarity", talk.workspace(here), SIMILARITY)
    assert talk.ends == [line]


def test_a_stage_whose_store_cannot_be_written_does_no_work(here: Path, talk: Talk, monkeypatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise StoreError("no permission")

    monkeypatch.setattr("neurolocal.pipeline.stages.require_place", refuse)
    monkeypatch.setattr("neurolocal.similarity.load_vectors", refuse_work)
    with pytest.raises(StoreError, match="no permission"):
        run_stage("similarity", talk.workspace(here), SIMILARITY)


def refuse_work(*_: Any, **__: Any) -> None:
    raise AssertionError("the work began")


def test_the_store_is_not_open_while_it_is_replaced(here: Path, talk: Talk, monkeypatch) -> None:
    """Windows replaces no file that is open."""
    import os

    seen: list[list[str]] = []
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        seen.append([os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")])  # noqa: PTH208
        return rename(self, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the system does not list open files")
    monkeypatch.setattr(Path, "replace", replace)
    run_stage("similarity", talk.workspace(here), SIMILARITY)
    assert seen
    assert not any(str((here / "store.h5").resolve()) in names for names in seen)


def test_a_verdict_without_evidence_says_what_it_rests_on(here: Path, talk: Talk) -> None:
    run_stage("verdict", talk.workspace(here, layers=(1,)), VerdictConfig())
    assert "verdict: layer 1 has no similarity and no perturbation yet" in talk[0]


def test_a_subject_named_from_the_stores_folder_is_found_from_elsewhere(
    fixtures: Path, here: Path, talk: Talk, tmp_path: Path, monkeypatch
) -> None:
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.subject import load_subject

    shutil.copytree(fixtures / "stories260k", here / "own", copy_function=shutil.copyfile)
    (here / "store.h5").unlink()
    monkeypatch.chdir(here)
    subject = load_subject("own", device="cpu")
    collect_store(Collection(subject, here / "corpus.jsonl", here / "store.h5", COLLECT), say=print, bar=False)
    monkeypatch.chdir(tmp_path)
    assert talk.workspace(here).loaded_subject.sha256 == subject.sha256
