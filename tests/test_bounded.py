"""Foreign code answers, fails or is stopped; whatever it does, the next question is answered."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from neurolocal.bounded import Bounded, LimitError

PROGRAM = """
import os, sys, time

def answer(question):
    print("this is no answer")
    if question == "loop":
        while True:
            pass
    if question == "sleep in one call":
        time.sleep(1000)
    if question == "memory":
        return len("a" * 9_999_999_999)
    if question == "long":
        return "a" * 5_000
    if question == "end":
        os._exit(3)
    if question == "exit":
        sys.exit("good bye")
    if question == "raise":
        raise KeyError("no\\nsuch")
    return [question, os.getpid()]
"""


@pytest.fixture
def bounded(tmp_path: Path):
    (tmp_path / "program.py").write_text(PROGRAM)
    made = Bounded(tmp_path / "program.py", seconds=60.0, memory=256 << 20, largest=4_000)
    yield made
    made.close()


def test_answers_come_from_one_process(bounded: Bounded) -> None:
    answers = [bounded.ask(question) for question in ("a", {"b": [1, None, "\n\ud800é"]}, "c")]
    assert [question for question, _ in answers] == ["a", {"b": [1, None, "\n\ud800é"]}, "c"]
    assert len({number for _, number in answers}) == 1
    assert answers[0][1] != os.getpid()


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("loop", "it took more than 1 s"),
        ("sleep in one call", "it took more than 1 s"),
        pytest.param("memory", "it took more than 256 MiB of memory", marks=pytest.mark.skipif(
            sys.platform != "linux", reason="memory is limited on Linux alone")),
        ("long", "it wrote 5,002 bytes"),
        ("end", "its process ended"),
    ],
)  # fmt: skip
def test_what_runs_on_is_stopped_and_the_next_question_is_answered(bounded: Bounded, question: str, says: str) -> None:
    bounded.ask("started")
    if says.endswith("1 s"):
        bounded._seconds = 1.0
    with pytest.raises(LimitError, match=says):
        bounded.ask(question)
    bounded._seconds = 60.0
    assert bounded.ask("next")[0] == "next"


@pytest.mark.parametrize(("question", "says"), [("raise", "no"), ("exit", "good bye")])
def test_what_it_raises(bounded: Bounded, question: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        bounded.ask(question)
    assert "\n" not in str(caught.value)
    assert bounded.ask("next")[0] == "next"


def test_a_program_that_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import no_such_module")
    with pytest.raises(LimitError, match="its process ended"):
        Bounded(tmp_path / "program.py", seconds=60.0).ask("a")


def test_no_process_is_left_where_nobody_asks_any_more(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    made = Bounded(tmp_path / "program.py", seconds=60.0)
    _, number = made.ask("a")
    del made
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and runs(number):
        time.sleep(0.02)
    assert not runs(number)


def runs(number: int) -> bool:
    """Whether a child of ours still runs; one that has ended is removed."""
    try:
        return os.waitpid(number, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False
