from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from neurolocal.config import SummaryConfig
from neurolocal.errors import LLMError
from neurolocal.llm import LLM, complete
from neurolocal.records import Neuron
from neurolocal.summary import Description, describe, table
from neurolocal.summary.judge import Candidate, Judge

METALS = ["iron", "copper", "silver", "zinc", "tin", "gold", "lead", "nickel"]
DAYS = ["Monday", "Friday", "Sunday", "Tuesday", "Wednesday", "Saturday", "Thursday"]
KIN = ["mother", "brother", "uncle", "daughter", "father", "cousin", "son"]


def run(corpus: Any, neurons: list[Neuron], llm: LLM | None, **more: Any) -> Any:
    more.setdefault("config", SummaryConfig())
    return describe(neurons, llm, vocabulary=corpus.vocabulary, **more)


def test_without_an_llm_it_counts_and_says_so(corpus: Any) -> None:
    said = run(corpus, [corpus.neuron(["poly", "P", "poly"], neuron=7)], None)
    assert said.neuron.tolist() == [7]
    assert said.description == ['top words "poly", "P"']
    assert (said.source, said.prompt, said.answer) == (["counts"], [""], [""])
    assert np.isnan(said.gain).all()


def test_no_example_of_the_score_half_is_in_any_prompt_or_answer(corpus: Any, stories: LLM) -> None:
    asked: list[str] = []
    plain = stories.tokenize

    def listen(text: str, **more: Any) -> list[int]:
        asked.append(text)
        return plain(text, **more)

    neuron = corpus.neuron(METALS, odd=["MARKER"] * 8)
    stories.tokenize = listen  # type: ignore[method-assign]
    try:
        said = run(corpus, [neuron], stories)
    finally:
        del stories.tokenize  # type: ignore[method-assign]
    assert any("iron" in text for text in asked)
    assert not any("MARKER" in text for text in [*asked, *said.description, *said.prompt, *said.answer])


def test_what_odd_ranks_say_changes_nothing(corpus: Any, stories: LLM) -> None:
    quiet, loud = corpus.neuron(METALS), corpus.neuron(METALS, odd=DAYS)
    assert (
        dataclasses.astuple(run(corpus, [quiet], stories))[1:5]
        == dataclasses.astuple(run(corpus, [loud], stories))[1:5]
    )


@pytest.mark.parametrize("with_llm", [True, False])
def test_a_neuron_without_examples_is_described_too(corpus: Any, stories: LLM, with_llm: bool) -> None:
    said = run(corpus, [Neuron(0, []), corpus.neuron([], odd=["iron"])], stories if with_llm else None)
    assert said.description == ["no examples", "no examples"]


def test_one_word_is_called_by_its_word_without_asking(corpus: Any, stories: LLM) -> None:
    said = run(corpus, [corpus.neuron(["each"] * 9 + ["Each"])], stories)
    assert (said.description, said.source, said.prompt) == (['the word "each"'], ["counts"], [""])


def test_a_few_words_among_symbols_name_nothing(corpus: Any, stories: LLM) -> None:
    said = run(corpus, [corpus.neuron(["return", "{", "0", "=", "always", ";"])], stories)
    assert said.description[0].startswith('top words "return", ')
    assert said.prompt == [""]


@pytest.mark.parametrize(
    ("score", "share", "source"), [(5.0, 0.7, "vectors"), (5.0, 0.5, "counts"), (-0.6, 1.0, "counts")]
)
def test_a_name_must_score_and_explain_most_of_the_words(
    corpus: Any, stories: LLM, monkeypatch: pytest.MonkeyPatch, score: float, share: float, source: str
) -> None:
    monkeypatch.setattr(Judge, "choose", lambda *_: [Candidate("the name", score, 2.0, share)])
    said = run(corpus, [corpus.neuron(METALS)], stories)
    assert said.source == [source]
    assert (said.description == ["the name"]) is (source == "vectors")


def test_the_prompt_is_whole_and_the_answers_are_raw(corpus: Any, stories: LLM) -> None:
    said = run(corpus, [corpus.neuron(METALS)], stories, config=SummaryConfig(samples=2))
    assert said.prompt[0].endswith("\niron, copper, silver, zinc, tin, gold, lead, nickel ->")
    assert "furniture" in said.prompt[0]
    assert len(said.answer[0].split("\n")) == 2


def test_each_row_depends_on_its_neuron_alone_so_a_stopped_run_goes_on(corpus: Any, stories: LLM) -> None:
    neurons = [corpus.neuron(w, neuron=i) for i, w in enumerate([METALS, DAYS, KIN])]
    kept: list[Description] = []
    whole = run(corpus, neurons, stories, done=kept.append)
    assert [d.neuron for d in kept] == [0, 1, 2]

    def stop(row: Description) -> None:
        first.append(row)
        if row.neuron == 0:
            raise KeyboardInterrupt

    first: list[Description] = []
    with pytest.raises(KeyboardInterrupt):
        run(corpus, neurons, stories, done=stop)
    run(corpus, neurons[1:], stories, done=first.append)
    for got in (table(first), table(kept)):
        for field in dataclasses.fields(whole):
            a, b = getattr(got, field.name), getattr(whole, field.name)
            assert (a.tobytes() == b.tobytes()) if isinstance(a, np.ndarray) else (a == b), field.name


def test_one_bad_neuron_does_not_stop_the_rest(corpus: Any, stories: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = dataclasses.replace(corpus.example(0, "a", " iron", "b"), position=9999)
    neurons = [Neuron(0, [damaged]), corpus.neuron(METALS, neuron=1), corpus.neuron(DAYS, neuron=2)]

    def fail(llm: LLM, body: Any, **more: Any) -> Any:
        if "iron" in body:
            raise LLMError("running x: llama_decode returned 1")
        return complete(llm, body, **more)

    monkeypatch.setattr("neurolocal.summary.judge.complete", fail)
    said = run(corpus, neurons, stories)
    assert said.description[0].startswith("not described (failed: IndexError")
    assert said.description[1].startswith('top words "iron", ')
    assert said.said[1] == "failed: LLMError: running x: llama_decode returned 1"
    assert said.source[:2] == ["counts", "counts"]
    assert not said.answer[2].startswith("failed")


@pytest.mark.parametrize("hostile", ["\x00", "\ufffd", "<|im_end|>", "->", "a\nb -> c", "﷽" * 40, "🙂", "{words}"])
def test_hostile_words_are_words(corpus: Any, stories: LLM, hostile: str) -> None:
    words = ["iron", hostile, "zinc", "gold"]
    for method in ("default", "notebook"):
        neuron = dataclasses.replace(corpus.neuron(words), tokens=words)
        said = run(corpus, [neuron], stories, config=SummaryConfig(method=method))
        assert len(said.description) == 1
        assert "\n" not in said.description[0]
        assert not said.answer[0].startswith("failed")


@pytest.mark.slow
def test_smollm2_names_what_everyone_knows(corpus: Any, smol: LLM) -> None:
    neurons = [corpus.neuron(w, neuron=i) for i, w in enumerate([METALS, DAYS, KIN])]
    said = run(corpus, neurons, smol)
    metals, days, kin = said.description
    assert metals == "metals"
    assert "week" in days
    assert any(w in kin for w in ("family", "relative", "kin"))
    assert said.source == ["llm"] * 3
    assert (said.gain > 2).all()


@pytest.mark.slow
def test_unrelated_words_get_no_name(corpus: Any, smol: LLM) -> None:
    said = run(corpus, [corpus.neuron(["table", "quickly", "seven", "lantern", "because", "Peter"])], smol)
    assert said.source == ["counts"]
    assert said.description[0].startswith('top words "table", ')
    assert said.prompt[0]
    assert said.answer[0]
