"""What the LLM proposes and chooses: names, scores, prompts."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.config import SummaryConfig
from neurolocal.llm import LLM, Generation, complete, load_llm, log_probabilities
from neurolocal.summary.judge import CLEAR, NATURAL, NEUTRAL, SHOTS, Judge, _heads, clean, contains, loops
from neurolocal.summary.peaks import find_peaks


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (" days of the week", "days of the week"),
        ("  metals.  ", "metals"),
        (' "kin"', "kin"),
        (" thesaurus -> thesaurus", "thesaurus"),
        ("a\tb\x00c", "a b c"),
        ("", ""),
        (" ...", ""),
    ],
)
def test_clean(answer: str, expected: str) -> None:
    assert clean(answer) == expected


@given(st.text())
def test_clean_gives_one_printable_line(answer: str) -> None:
    assert clean(answer).isprintable()
    assert clean(clean(answer)) == clean(answer)


def test_loops() -> None:
    assert loops("cars, trucks, cars, trucks")
    assert loops("the the the")
    assert not loops("days of the week")
    assert not loops("")


def test_contains() -> None:
    assert contains("the word ship", "Ship")
    assert contains("ships", "ship")
    assert contains("ship", "ships")
    assert not contains("shipping", "ship")


def test_what_cannot_serve_is_dropped(stories: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        "",
        " iron",
        " iron and zinc",
        " metal metal metal",
        " 7, 8",
        " " + "m" * 70,
        " metals of old",
        " metals",
    ]
    monkeypatch.setattr("neurolocal.summary.judge.complete", lambda *_, **__: [Generation(a, True) for a in answers])
    proposal = Judge(stories, SummaryConfig()).propose(["iron", "zinc"])
    assert proposal.names == ["metals of old", "metals"]
    assert proposal.answers == answers


def test_an_answer_that_ran_out_of_tokens_is_no_name_but_its_first_part_is(
    stories: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "neurolocal.summary.judge.complete", lambda *_, **__: [Generation(" metals for making swords", False)]
    )
    assert Judge(stories, SummaryConfig()).propose(["iron", "zinc"]).names == ["metals"]


def test_scores_are_what_the_docstring_says(stories: LLM) -> None:
    judge, words = Judge(stories, SummaryConfig()), ["dog", "cat", "fish"]
    judged = {j.name: j for j in judge.choose(["pets", "a big dog"], words)}
    given, neutral = (log_probabilities(stories, f"{n}:", [" dog", " cat", " fish"], head=1) for n in ("pets", NEUTRAL))
    (name,) = log_probabilities(stories, "dog, cat, fish ->", [" pets\n"], head=0)
    gains = [g.sum() - n.sum() for g, n in zip(given, neutral, strict=True)]
    assert judged["pets"].score == pytest.approx(np.clip(gains, -3, 8).mean() + NATURAL * name.sum())
    assert judged["pets"].share == pytest.approx(np.mean([g >= CLEAR for g in gains]))
    assert judged["pets"].gain == pytest.approx(sum(gains) / sum(len(g) for g in given))
    given, neutral = (log_probabilities(stories, f"{n}:", [" cat", " fish"], head=1) for n in ("a big dog", NEUTRAL))
    gains = [g.sum() - n.sum() for g, n in zip(given, neutral, strict=True)]
    assert judged["a big dog"].gain == pytest.approx(sum(gains) / sum(len(g) for g in given))


def test_a_name_that_contains_every_word_is_not_judged(stories: LLM) -> None:
    assert Judge(stories, SummaryConfig()).choose(["dog and cat"], ["dog", "cat"]) == []
    assert Judge(stories, SummaryConfig()).choose([], ["dog", "cat"]) == []


def test_the_neutral_name_gains_nothing(stories: LLM) -> None:
    (judged,) = Judge(stories, SummaryConfig()).choose([NEUTRAL], ["dog", "cat"])
    assert judged.gain == 0


def test_a_small_context_has_fewer_solved_cases_and_fewer_words_each_whole(stories_gguf: object) -> None:
    config = SummaryConfig(n_ctx=512, samples=2)
    with load_llm(str(stories_gguf), n_ctx=config.n_ctx) as llm:
        judge = Judge(llm, config)
        words = [f"{c * 38}" for c in "abcdefgh"]
        proposal = judge.propose(words)
        last = proposal.prompt.split("\n")[-1].removesuffix(" ->").split(", ")
        assert last == words[: len(last)]
        assert 1 <= len(last) < 8
        assert 0 < proposal.prompt.count(" -> ") < len(SHOTS)
        assert judge.choose(["letters"], words)


@pytest.mark.slow
def test_a_model_that_can_speak_is_asked_in_its_template(
    smol: LLM, corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    neuron = corpus.neuron(["iron", "zinc", "copper"])
    assert not smol.chats
    assert not Judge(smol, SummaryConfig()).describes
    monkeypatch.setattr("neurolocal.llm.model.CHAT_FROM", 1)
    judge, seen = Judge(smol, SummaryConfig(samples=2)), list[list[int]]()

    def listen(llm: LLM, body: Any, **more: Any) -> Any:
        seen.append([*llm.heads[more["head"]].tokens, *body])
        return complete(llm, body, **more)

    monkeypatch.setattr("neurolocal.summary.judge.complete", listen)
    said = judge.describe(neuron, find_peaks(neuron, corpus.vocabulary), corpus.vocabulary)
    parts = smol.chat_parts()
    assert parts is not None
    before, after = parts
    assert seen[0][: len(before)] == before
    assert seen[0][-len(after) :] == after
    assert smol.text(seen[0][len(before) : -len(after)]) == said.prompt
    assert len(said.answers) == 2


def test_the_prompts_are_those_that_were_measured() -> None:
    """The README's figures are of these words: change both or none."""
    heads = "\0".join(_heads(list(SHOTS)))
    assert hashlib.sha256(heads.encode()).hexdigest()[:16] == "f3ec9e83e8091732"
