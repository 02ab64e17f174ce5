"""Asking an LLM: every way, and what an answer may depend on."""

from __future__ import annotations

import re

import numpy as np
import pytest

from neurolocal.errors import LLMError
from neurolocal.llm import LLM
from neurolocal.score import asking
from neurolocal.score.asking import Asker
from neurolocal.summary import explain

TEXT = "Tom and his friend went to the lake to swim, and they saw a <<frog>> there"


@pytest.fixture(params=["likelihood", "completion", "chat"])
def asker(request, stories: LLM, smol: LLM, monkeypatch) -> Asker:
    """Each way; a small model is made to answer yes or no, too."""
    if request.param == "likelihood":
        return Asker(stories)
    monkeypatch.setattr("neurolocal.llm.model.CHAT_FROM", 0)
    return Asker(stories if request.param == "completion" else smol)


def test_the_way_is_the_models(asker: Asker, request) -> None:
    assert asker.way == request.node.callspec.params["asker"]
    assert asker.heads


def test_an_answer_depends_on_its_own_question_alone(asker: Asker) -> None:
    for task in asking.TASKS:
        both = asker.ask(task, TEXT, ["animals", "days of the week"])
        asker.ask(task, "Another <<text>> between", ["anything"])
        assert [asker.ask(task, TEXT, [d])[0] for d in ("animals", "days of the week")] == pytest.approx(both, abs=0.02)
        assert asker.ask(task, TEXT, ["animals", "days of the week"]) == both
        assert np.isfinite(both).all()
        assert both[0] != both[1]


def test_yes_or_no_is_what_the_model_says_next(smol: LLM, monkeypatch) -> None:
    """Against a twin that evaluates the whole prompt at once, with nothing shared."""
    monkeypatch.setattr("neurolocal.llm.model.CHAT_FROM", 0)
    plain = TEXT.replace("<<", "").replace(">>", "")
    found = Asker(smol).ask("detection", plain, ["animals"])[0]
    question = asking.ASKED["detection"].format(description="animals")
    parts = smol.chat_parts()
    assert parts is not None
    pieces = [smol.tokenize(piece, after="") for piece in ("Text: ", f"{plain}\n\n", question)]
    prompt = [token for piece in (parts[0], *pieces, parts[1]) for token in piece]
    smol.prepare([])
    spoken = {a: smol.log_probabilities(prompt, [a])[0][0] for a in ("yes", "Yes", "no", "No")}
    slow = np.logaddexp(spoken["yes"], spoken["Yes"]) - np.logaddexp(spoken["no"], spoken["No"])
    assert found == pytest.approx(slow, abs=0.5), "quantised weights: other batches, other rounding"


def test_yes_or_no_in_solved_cases_against_one_prompt(stories: LLM, monkeypatch) -> None:
    """The same of a float32 model without a template, where rounding is small."""
    monkeypatch.setattr("neurolocal.llm.model.CHAT_FROM", 0)
    asker = Asker(stories)
    found = asker.ask("fuzzing", TEXT, ["animals"])[0]
    question = f"{asking.ASKED['fuzzing'].format(description='animals')}\nAnswer:"
    plain = TEXT.replace("<<", "").replace(">>", "")
    pieces = [stories.tokenize(piece, after="") for piece in (f"{plain}\nWord: frog\n", question)]
    prompt = [*stories.tokenize(asker.heads[1]), *pieces[0], *pieces[1]]
    options = [stories.tokenize(a, after="x")[0] for a in (" yes", " Yes", " no", " No")]
    stories.prepare([])
    yes, yes2, no, no2 = stories.next_log_probabilities(prompt, [[]], options)[0]
    assert found == pytest.approx(np.logaddexp(yes, yes2) - np.logaddexp(no, no2), abs=0.02)


def test_next_log_probabilities_against_one_prompt_each(stories: LLM) -> None:
    stories.prepare(["Once upon a time"])
    body = stories.tokenize(" there was a", after="")
    endings = [stories.tokenize(t, after="") for t in (" cat. It was", " dog", "")] + [[]]
    options = [5, 17, 300]
    found = stories.next_log_probabilities(body, endings, options, head=0)
    for row, ending in zip(found, endings, strict=True):
        whole = [*stories.tokenize("Once upon a time"), *body, *ending]
        with stories._branch(whole, None) as (_, logprobs):
            np.testing.assert_allclose(row, logprobs[options], atol=1e-3)


def test_many_endings_are_split_and_stay_in_order(stories: LLM) -> None:
    stories.prepare([])
    body = stories.tokenize("The big red ball")
    endings = [stories.tokenize(f" was {'very ' * (i % 7)}good", after="") for i in range(70)]
    found = stories.next_log_probabilities(body, endings, [9, 10])
    for i in (0, 6, 31, 32, 33, 69):
        np.testing.assert_allclose(found[i], stories.next_log_probabilities(body, [endings[i]], [9, 10])[0], atol=0.02)


def test_a_text_that_does_not_fit_is_an_error(stories: LLM) -> None:
    with pytest.raises(LLMError, match="do not fit"):
        Asker(stories).ask("detection", "word " * 4000, ["animals"])


def test_a_small_models_word_stands_behind_the_text(stories: LLM) -> None:
    asker = Asker(stories)
    assert asker.prompt("fuzzing", TEXT).endswith("they saw a frog there: frog ->")
    assert asker.prompt("detection", "cout << a; cin >> b") == "cout << a; cin >> b ->", "no mark of ours"
    assert not re.search("<<|>>", asker.heads[0])
    assert "a wasp".casefold() in asker.heads[1].casefold()


@pytest.mark.parametrize("samples", [1, 3])
def test_a_grammar_is_kept(stories: LLM, samples: int) -> None:
    """A model that knows nothing writes JSON by grammar, the same again."""
    stories.prepare([])
    made = [
        stories.complete("Once", max_tokens=120, samples=samples, temperature=1.0, seed=4, grammar=explain.GRAMMAR)
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert len(made[0]) == samples
    for g in made[0]:
        assert re.fullmatch(r'\{"group": "[a-zA-Z0-9][^"\\,:;]{0,39}"\}', g.text), g.text
        assert g.stopped


def test_a_grammar_that_is_none_is_an_error(stories: LLM) -> None:
    with pytest.raises(LLMError, match="cannot read this grammar"):
        stories.complete("Once", max_tokens=5, grammar="root ::= (")
