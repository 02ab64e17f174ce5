"""Continuations: greedy, sampled, and by a grammar."""

from __future__ import annotations

import re

import pytest

from neurolocal.errors import LLMError
from neurolocal.llm import LLM, complete
from neurolocal.summary.prompt import GRAMMAR


def test_greedy_completion_is_the_published_text(stories: LLM) -> None:
    stories.prepare([])
    (said,) = complete(stories, "Once upon a time,", max_tokens=40)
    assert said.text.startswith(" there was a little girl named Lily. She loved to play outside")
    assert not said.stopped


def test_the_same_seed_gives_the_same_text_and_another_seed_another(stories: LLM) -> None:
    def said(seed: int) -> list[str]:
        return [g.text for g in complete(stories, "One day", max_tokens=30, samples=4, temperature=1.0, seed=seed)]

    stories.prepare([])
    assert said(3) == said(3)
    assert said(3)[0] == said(4)[0]  # greedy
    assert said(3)[1:] != said(4)[1:]
    assert len(set(said(3))) > 1


def test_stop_text_ends_an_answer_and_is_left_out(stories: LLM) -> None:
    stories.prepare([])
    (said,) = complete(stories, "Once upon a time,", max_tokens=40, stop=".")
    assert said.stopped
    assert said.text == " there was a little girl named Lily"


def test_a_prompt_longer_than_the_context_is_one_line(stories: LLM) -> None:
    stories.prepare([])
    with pytest.raises(LLMError, match=r"do not fit into the 1536 free of a context of 1536\. Raise n_ctx") as caught:
        complete(stories, "girl " * 2000, max_tokens=5)
    assert "\n" not in str(caught.value)
    assert complete(stories, "Once upon a time,", max_tokens=3)[0].text == " there was a"  # and the next one works


@pytest.mark.parametrize("samples", [1, 3])
def test_a_grammar_is_kept(stories: LLM, samples: int) -> None:
    """A model that knows nothing writes JSON by grammar, the same again."""
    stories.prepare([])
    made = [
        complete(stories, "Once", max_tokens=120, samples=samples, temperature=1.0, seed=4, grammar=GRAMMAR)
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert len(made[0]) == samples
    for g in made[0]:
        assert re.fullmatch(r'\{"group": "[a-zA-Z0-9][^"\\,:;]{0,39}"\}', g.text), g.text
        assert g.stopped


def test_a_grammar_that_is_none_is_an_error(stories: LLM) -> None:
    with pytest.raises(LLMError, match="cannot read this grammar"):
        complete(stories, "Once", max_tokens=5, grammar="root ::= (")


def test_an_empty_prompt_is_an_error(stories: LLM) -> None:
    stories.prepare([])
    with pytest.raises(LLMError, match="prompt is empty"):
        complete(stories, [], max_tokens=3)
