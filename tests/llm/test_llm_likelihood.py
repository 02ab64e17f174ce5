"""Log-probabilities of continuations and of next tokens, against one evaluation each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from llm_twins import HEAD, assert_equal_to_rounding, random_text, slow_log_probabilities

from neurolocal.llm import LLM, Prompt, log_probabilities, log_probabilities_of_texts, next_log_probabilities
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
    prompts = [Prompt([*body, *ending], [len(body) + len(ending)]) for ending in endings]
    found = next_log_probabilities(stories, prompts, options, head=0)
    for (row,), ending in zip(found, endings, strict=True):
        whole = [*stories.tokenize("Once upon a time"), *body, *ending]
        with stories.branch(whole, None) as (_, logprobs):
            np.testing.assert_allclose(row, logprobs[options], atol=1e-3)


def test_many_endings_are_split_and_stay_in_order(stories: LLM) -> None:
    stories.prepare([])
    body = stories.tokenize("The big red ball")
    endings = [stories.tokenize(f" was {'very ' * (i % 7)}good", after="") for i in range(70)]
    prompts = [Prompt([*body, *ending], [len(body) + len(ending)]) for ending in endings]
    found = next_log_probabilities(stories, prompts, [9, 10])
    for i in (0, 6, 31, 32, 33, 69):
        np.testing.assert_allclose(found[i], next_log_probabilities(stories, [prompts[i]], [9, 10])[0], atol=0.02)


@pytest.mark.parametrize("together", [20, 384])
def test_many_texts_in_a_decode_equal_one_text_a_decode(
    stories: LLM, stories_gguf: Path, fresh_seed: int, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """Texts, some of which begin alike or are equal, against each text alone from nothing."""
    monkeypatch.setattr("neurolocal.llm.likelihood.TOGETHER", together)
    draw = np.random.default_rng(fresh_seed)
    bodies = [random_text(draw, int(n)) for n in draw.integers(1, 12, size=20)]
    bodies += [bodies[-1] + " again", bodies[-1] + " and", bodies[-1], bodies[3]]
    rest = [" " + random_text(draw, int(n)) for n in draw.integers(1, 5, size=3)] + [""]
    stories.prepare([HEAD])
    fast = log_probabilities_of_texts(stories, bodies, rest, head=0)
    head = stories.tokenize(HEAD)
    pairs = [
        ([*head, *stories.tokenize(body, after=HEAD)], stories.tokenize(r, after=HEAD + body))
        for body in bodies
        for r in rest
    ]
    assert_equal_to_rounding([one for body in fast for one in body], slow_log_probabilities(stories_gguf, pairs))


def test_each_place_of_a_prompt_against_a_prompt_that_ends_there(stories: LLM, fresh_seed: int) -> None:
    stories.prepare([HEAD])
    draw = np.random.default_rng(fresh_seed)
    texts = [stories.tokenize(random_text(draw, 12), after=HEAD) for _ in range(5)]
    prompts = [Prompt(t, sorted(draw.choice(len(t) + 1, 5, replace=False).tolist())) for t in texts]
    found = next_log_probabilities(stories, prompts, [7, 8, 90], head=0)
    for tokens, wanted, rows in zip(texts, (p.wanted for p in prompts), found, strict=True):
        for n, row in zip(wanted, rows, strict=True):
            ((one,),) = next_log_probabilities(stories, [Prompt(tokens[:n], [n])], [7, 8, 90], head=0)
            np.testing.assert_allclose(row, one, atol=0.05)


def test_what_prompts_share_is_evaluated_once(stories: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    stories.prepare([HEAD])
    evaluated: list[int] = []
    plain = LLM._decode
    monkeypatch.setattr(LLM, "_decode", lambda self, entries: evaluated.append(len(entries)) or plain(self, entries))
    a, b, end = [5, 6, 7, 8], [5, 6, 9], [11, 12]
    prompts = [Prompt([*body, *end, last], [len(body) + 3]) for body in (a, b) for last in (20, 21)]
    next_log_probabilities(stories, prompts, [3], head=0)
    assert sum(evaluated) == 2 + (2 + 2 + 2) + (1 + 2 + 2)  # 5 6, then 7 8 11 12 and two ends, and 9 11 12 and two


def test_an_empty_continuation_has_no_tokens(stories: LLM) -> None:
    stories.prepare([])
    empty, ran = log_probabilities(stories, "She", ["", " ran"])
    assert len(empty) == 0 < len(ran)
