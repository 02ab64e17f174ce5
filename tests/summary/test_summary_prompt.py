"""The text that an LLM reads: what is on it, what is cut, and what it makes of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from neurolocal.config import SummaryConfig
from neurolocal.llm import LLM
from neurolocal.records import SubstituteTable
from neurolocal.summary import describe, prompt
from neurolocal.summary.peaks import find_peaks

WORDS = ["Monday", "Friday", "Sunday", "Monday", "Tuesday"]


@pytest.fixture
def neuron(corpus):
    found = corpus.neuron(WORDS, odd=["ODDMARK"] * 5)
    words = ["Monday", "Thursday", "banana", "ODDTRIED", "other"]
    table = SubstituteTable(
        neuron=np.array([0, 0, 0, 0, 1]),
        rank=np.array([0, 0, 0, 1, 0], np.int32),
        kind=["original", "neighbour", "neighbour", "neighbour", "neighbour"],
        word=[f" {w}" for w in words],
        cosine=np.zeros(5, np.float32),
        activation=np.array([10.0, 8.0, 0.5, 9.0, 9.0], np.float32),
    )
    return replace(
        found, substitutes=table, near_misses=["a silent <<Monday>> here"], weaker=["a dull <<Sunday>> (3 of 10)"],
        promoted=[" night", " morning"],
        subsets=[("Books", 3), ("Code", 2)],
    )  # fmt: skip


def test_the_page_holds_what_explains_and_nothing_else(neuron, corpus) -> None:
    contexts = [prompt.context(e, neuron, corpus.vocabulary) for e in neuron.examples if e.rank % 2 == 0]
    text = prompt.facts(neuron, find_peaks(neuron, corpus.vocabulary), contexts)
    assert "Words it fires on: Monday (2), Friday (1), Sunday (1), Tuesday (1)" in text
    assert "- Then <<Monday>>(10) came" in text
    assert "made it fire: Thursday\n" in text
    assert "did not: banana\n" in text
    assert "- a silent <<Monday>> here" in text
    assert "Random contexts where it fires less:\n- a dull <<Sunday>> (3 of 10)\n" in text
    assert '" night", " morning"' in text
    assert "Books 3, Code 2" in text
    assert "ODD" not in text
    assert "other" not in text
    assert text.endswith(prompt.QUESTION)


def test_a_long_page_loses_whole_contexts_and_says_so(neuron, corpus, stories: LLM) -> None:
    peaks = find_peaks(neuron, corpus.vocabulary)
    full, said = prompt.fitting_facts(neuron, peaks, corpus.vocabulary, stories, 100_000)
    assert said == ""
    assert full.count("<<") == 5 + 2  # contexts, the weaker one, and the near miss
    room = len(stories.tokenize(full)) - 1
    cut, said = prompt.fitting_facts(neuron, peaks, corpus.vocabulary, stories, room)
    assert len(stories.tokenize(cut)) <= room
    assert said.startswith("1 of 5 contexts left out")
    kept = [line for line in full.splitlines() if line.startswith("- Then")][:4]
    assert [line for line in cut.splitlines() if line.startswith("- Then")] == kept


@pytest.mark.parametrize(
    ("answer", "description"),
    [
        ('{"group": "days of the week"}', "days of the week"),
        ('{"group": "days', ""),
        ('{"group": "' + "x" * prompt.MOST + '"}', ""),
        ("", ""),
        ("[]", ""),
        ('{"other": 1}', ""),
    ],
)
def test_answers_are_read(answer: str, description: str) -> None:
    assert prompt.parse(answer) == description


def test_a_model_that_speaks_is_asked_and_kept(neuron, corpus, smol: LLM, monkeypatch) -> None:
    """SmolLM2 made to speak: the prompt, its answers and the candidates are kept, the same again."""
    monkeypatch.setattr("neurolocal.llm.model.CHAT_FROM", 0)
    tables = [describe([neuron], smol, vocabulary=corpus.vocabulary, config=SummaryConfig()) for _ in range(2)]
    one, two = tables
    assert one.prompt[0].startswith(prompt.INSTRUCTIONS)
    assert one.answer[0].splitlines()[0].startswith('{"group": "')
    assert len(one.answer[0].splitlines()) >= 2 * SummaryConfig().samples
    best = [line.split("\t") for line in one.candidates[0].splitlines()]
    assert [float(score) for _, score in best] == sorted((float(score) for _, score in best), reverse=True)
    assert (one.description, one.answer, one.candidates) == (two.description, two.answer, two.candidates)
    assert "ODD" not in one.prompt[0]


def test_the_prompt_is_the_one_that_was_measured() -> None:
    digests = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in (prompt.INSTRUCTIONS, prompt.GRAMMAR)]
    assert digests == ["5c1908be9c2563b5", "dc1f1dff15d51483"]
