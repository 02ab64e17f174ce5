"""The notebook's question: its words, and what is listed in it."""

from __future__ import annotations

from typing import Any

from neurolocal.config import SummaryConfig
from neurolocal.llm import LLM, complete
from neurolocal.records import Neuron
from neurolocal.summary import describe
from neurolocal.summary.notebook import QUESTION


def run(corpus: Any, neurons: list[Neuron], llm: LLM | None) -> Any:
    return describe(neurons, llm, vocabulary=corpus.vocabulary, config=SummaryConfig(method="notebook"))


def test_the_notebooks_question_is_its_own_word_for_word(corpus: Any, stories: LLM) -> None:
    neuron = Neuron(4, [], tokens=[" poly", " P", "poly"])
    said = run(corpus, [neuron], stories)
    assert said.prompt == ["What do all these words have in common? Words:  poly  P poly. Common:"]
    stories.prepare([])
    assert said.answer == [complete(stories, said.prompt[0], max_tokens=50)[0].text]
    assert said.source == ["llm"]
    assert said.description[0] == " ".join(said.answer[0].split())
    assert len(stories.tokenize(said.answer[0], after="")) in range(40, 60)


def test_the_notebooks_question_is_cut_by_whole_tokens(corpus: Any, stories: LLM) -> None:
    tokens = [f" {'unbelievable' * 20}{i}" for i in range(40)]
    said = run(corpus, [Neuron(0, [], tokens=tokens)], stories)
    kept = said.prompt[0].count("unbelievable") // 20
    assert 0 < kept < 40
    assert said.prompt[0] == QUESTION.format(words=" ".join(tokens[:kept]))


def test_the_notebook_without_an_llm_counts_its_tokens(corpus: Any) -> None:
    neuron = Neuron(0, [], tokens=[" each"] * 3 + [" every"])
    said = run(corpus, [neuron], None)
    assert (said.description, said.source) == (['top words " each", " every"'], ["counts"])
