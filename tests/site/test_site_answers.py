"""The subject behind the text box: answers as `asking` gives them, offsets in the text, refusals, a replaced store."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import torch
from serve_twins import client, running, write_small
from small_run import write_corpus
from tables import filled

from neurolocal.asking import Asking, answer_object
from neurolocal.config import CollectConfig
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.records import SummaryTable
from neurolocal.site.answers import Answers
from neurolocal.site.ask import LONGEST_TEXT, Question, QuestionError
from neurolocal.store import Store, add_evidence
from neurolocal.subject import load_subject

TEXT = "Lily's dog ran, and the cat didn't."


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def subject(fixtures: Path) -> Any:
    return load_subject(fixtures / "stories260k", device="cpu")


@pytest.fixture(scope="module")
def collected(subject: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    config = CollectConfig(row_length=32, k=3, max_rows=24, logits=0)
    job = Collection(subject, write_corpus(folder / "corpus.jsonl"), folder / "store.h5", config)
    collect_store(job, say=lambda line: None, bar=False)
    return folder / "store.h5"


@pytest.fixture
def answers(collected: Path, subject: Any):
    made = Answers(collected, subject, say=print)
    yield made
    made.close()


def test_an_answer_is_askings(answers: Answers, collected: Path, subject: Any) -> None:
    with Store(collected) as store:
        asking = Asking(subject, store)
        wanted = {
            Question(TEXT, ((2, 5), (0, 3)), 1): asking.neurons(TEXT, [(2, 5), (0, 3)]),
            Question(TEXT, (), 4): asking.strongest(TEXT, n=4),
        }
    for question, found in wanted.items():
        got = answers(question)
        for name, value in answer_object(found).items():
            if name in ("tokens", "neurons"):
                assert [{k: v for k, v in one.items() if k != "shown"} for one in got[name]] == value
            else:
                assert got[name] == value


@pytest.mark.parametrize("text", [TEXT, "héllo wörld", "naïve 日本 👋 dog", "a\nb", " dog"])
def test_offsets_lead_from_tokens_to_words(answers: Answers, text: str) -> None:
    got = answers(Question(text, ((0, 0),), 1))
    assert got["text"] == text
    assert len(got["starts"]) == len(got["tokens"])
    assert got["starts"][0] is None  # BOS
    starts = got["starts"][1:]
    assert starts == sorted(starts)
    assert starts[0] == 0
    assert max(starts) < len(text)
    for first, stop in got["words"]:
        assert text[first:stop].strip() == text[first:stop] != ""


def test_words_are_whole(answers: Answers) -> None:
    got = answers(Question(TEXT, ((0, 0),), 1))
    assert [TEXT[first:stop] for first, stop in got["words"]] == ["Lily's", "dog", "ran", "and", "the", "cat", "didn't"]


def test_what_a_page_shows_hides_nothing(answers: Answers, collected: Path, tmp_path: Path, subject: Any) -> None:
    path = Path(shutil.copy(collected, tmp_path / "s.h5"))
    hostile = "</script><img onerror=alert(1)>\u202e\x00"
    table = filled(SummaryTable, [5], description=[hostile], source=["llm"])
    add_evidence(path, [("summary", 2, "largest", table, {})], site="post")
    made = Answers(path, subject, say=print)
    got = made(Question("a\u202eb\x00\n", ((2, 5),), 1))
    made.close()
    assert got["neurons"][0]["shown"] == "</script><img onerror=alert(1)>⟨U+202E⟩⟨U+0000⟩"
    shown = "".join(token["shown"] for token in got["tokens"])
    assert not set(shown) & set("\u202e\x00\n")


@pytest.mark.parametrize(
    ("question", "status"),
    [(Question("a", ((2, 99999),), 1), 404), (Question("a", ((99, 0),), 1), 404), (Question("😀" * 1000, (), 1), 413)],
)
def test_what_cannot_be_read_is_refused(answers: Answers, question: Question, status: int) -> None:
    with pytest.raises(QuestionError) as refused:
        answers(question)
    assert refused.value.status == status


def test_the_longest_text_in_any_script_is_answered_or_refused(answers: Answers) -> None:
    for text in ("a" * LONGEST_TEXT, "日" * 30, "\u0600" * 40, "<s>", "\ufffd", " "):
        try:
            got = answers(Question(text, ((0, 0),), 1))
        except QuestionError as refused:
            got = refused
        if isinstance(got, QuestionError):
            assert got.status in (400, 413)
        else:
            assert len(got["tokens"]) == len(got["starts"]) == len(got["neurons"][0]["activations"])


def test_a_replaced_store_answers_and_one_of_another_subject_does_not(
    collected: Path, subject: Any, tmp_path: Path
) -> None:  # fmt: skip
    path = Path(shutil.copy(collected, tmp_path / "s.h5"))
    said: list[str] = []
    made = Answers(path, subject, say=said.append)
    question = Question("dog", ((2, 5),), 1)
    assert made(question)["neurons"][0]["description"] == ""
    table = filled(SummaryTable, [5], description=["pets"], source=["llm"])
    add_evidence(path, [("summary", 2, "largest", table, {})], site="post")
    assert made(question)["neurons"][0]["description"] == "pets"
    write_small(tmp_path / "other.h5").replace(path)
    assert made(question)["neurons"][0]["description"] == "pets"
    assert len(said) == 1
    assert "is now of another subject" in said[0]
    made.close()


def test_over_http(collected: Path, subject: Any) -> None:
    with running(collected, subject=lambda: subject) as port:
        body = json.dumps({"text": TEXT, "strongest": 2}).encode()
        request = Request(f"http://127.0.0.1:{port}/api/activations", body, {"content-type": "application/json"})
        with urlopen(request, timeout=300) as answer:
            found = json.load(answer)
    assert len(found["neurons"]) == 2
    assert found["tokens"][1]["shown"]


def test_a_subject_error_is_a_line(collected: Path, subject: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from neurolocal.errors import SubjectError

    def broken(self: Asking, *_: Any, **__: Any) -> None:
        raise SubjectError("reading a text: no tokens")

    monkeypatch.setattr(Asking, "strongest", broken)
    made = Answers(collected, subject, say=print)
    with client(collected, answer=made) as c:
        answer = c.post("/api/activations", json={"text": "a"})
    made.close()
    assert (answer.status_code, answer.text) == (400, "reading a text: no tokens\n")


@pytest.mark.slow
def test_the_command_loads_the_subject_that_the_store_names(collected: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "neurolocal",
        "serve",
        str(collected),
        "--port",
        "0",
        "--device",
        "cpu",
        "--subject",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if line.startswith("serve: http"))
            url = line.split()[1]
            body = json.dumps({"text": TEXT, "neurons": [[2, 5]]}).encode()
            request = Request(f"{url}api/activations", body, {"content-type": "application/json"})
            with urlopen(request, timeout=300) as answer:
                assert json.load(answer)["neurons"][0]["neuron"] == 5
            with urlopen(f"{url}neuron/2/5.html", timeout=300) as answer:
                assert b"assets/ask.js" in answer.read()
        finally:
            process.terminate()
    assert process.returncode == 0
