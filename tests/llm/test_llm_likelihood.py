"""Log-probabilities of continuations and of next tokens, against one evaluation each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from llm_twins import HEAD, assert_equal_to_rounding, random_text, slow_log_probabilities

from neurolocal.llm import LLM, log_probabilities, next_log_probabilities
from neurolocal.llm.model import BRANCHES


@pytest.mark.parametrize("with_head", [True, False])
def test_log_probabilities_equal_the_slow_twins(
    stories: LLM, stories_gguf: Path, fresh_seed: int, with_head: bool
) -> None:
    draw = np.random.default_rng(fresh_seed)
    body = random_text(draw, 12)
    rest = [" " + random_text(draw, int(n)) for n in draw.integers(1, 6, size=BRANCHES + 9)]
    stories.prepare([HEAD, "Another head.\n"] if with_head else [])
    head = 0 if with_head else None
    fast = log_probabilities(stories, body, rest, head=head)
    prefix = stories.tokenize((HEAD if with_head else "") + body)
    whole = [stories.tokenize((HEAD if with_head else "") + body + r) for r in rest]
    assert all(w[: len(prefix)] == prefix for w in whole)
    slow = slow_log_probabilities(stories_gguf, [(prefix, w[len(prefix) :]) for w in whole])
    assert_equal_to_rounding(fast, slow)


def test_probabilities_of_all_next_tokens_sum_to_one(stories: LLM) -> None:
    stories.prepare([])
    letters = [chr(c) for c in range(32, 127)]
    first = {stories.tokenize(c, after="She")[0]: p[0] for c in letters for p in log_probabilities(stories, "She", [c])}
    assert 0.2 < sum(np.exp(p) for p in first.values()) <= 1.0 + 1e-9


def test_a_prompt_of_several_batches_is_as_good_as_one(
    stories: LLM, stories_gguf: Path, fresh_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neurolocal.llm.model.BATCH", 16)
    stories.prepare([])
    body = random_text(np.random.default_rng(fresh_seed), 60)
    rest = [" ran to her mom", " and said: she is happy and she is sad and she has a big dog and a red ball.", " is"]
    prefix = stories.tokenize(body)
    assert len(prefix) > 3 * 16
    slow = slow_log_probabilities(stories_gguf, [(prefix, stories.tokenize(body + r)[len(prefix) :]) for r in rest])
    assert_equal_to_rounding(log_probabilities(stories, body, rest), slow)


def test_next_log_probabilities_against_one_prompt_each(stories: LLM) -> None:
    stories.prepare(["Once upon a time"])
    body = stories.tokenize(" there was a", after="")
    endings = [stories.tokenize(t, after="") for t in (" cat. It was", " dog", "")] + [[]]
    options = [5, 17, 300]
    found = next_log_probabilities(stories, body, endings, options, head=0)
    for row, ending in zip(found, endings, strict=True):
        whole = [*stories.tokenize("Once upon a time"), *body, *ending]
        with stories.branch(whole, None) as (_, logprobs):
            np.testing.assert_allclose(row, logprobs[options], atol=1e-3)


def test_many_endings_are_split_and_stay_in_order(stories: LLM) -> None:
    stories.prepare([])
    body = stories.tokenize("The big red ball")
    endings = [stories.tokenize(f" was {'very ' * (i % 7)}good", after="") for i in range(70)]
    found = next_log_probabilities(stories, body, endings, [9, 10])
    for i in (0, 6, 31, 32, 33, 69):
        np.testing.assert_allclose(found[i], next_log_probabilities(stories, body, [endings[i]], [9, 10])[0], atol=0.02)


def test_an_empty_continuation_has_no_tokens(stories: LLM) -> None:
    stories.prepare([])
    empty, ran = log_probabilities(stories, "She", ["", " ran"])
    assert len(empty) == 0 < len(ran)
