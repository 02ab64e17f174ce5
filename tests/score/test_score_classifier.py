"""The LLM as a classifier: each way to ask, and what an answer may depend on."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest

from neurolocal.errors import LLMError
from neurolocal.llm import LLM, Prompt, log_probabilities, next_log_probabilities
from neurolocal.score import classifier as module
from neurolocal.score.classifier import Classifier

TEXT = "Tom and his friend went to the lake to swim, and they saw a <<frog>> there"

ROUNDING = 0.5
"""Nats that an answer of a quantised model may differ by in another batch; another text differs by whole nats."""


@pytest.fixture(params=["likelihood", "completion", "chat"])
def classifier(request, stories: LLM, smol: LLM, monkeypatch) -> Classifier:
    """Each way; a small model is made to answer yes or no, too."""
    if request.param == "likelihood":
        return Classifier(stories)
    monkeypatch.setattr("neurolocal.llm.model.CHAT_FROM", 0)
    return Classifier(stories if request.param == "completion" else smol)


def test_the_way_is_the_models(classifier: Classifier, request) -> None:
    assert classifier.way == request.node.callspec.params["classifier"]
    assert classifier.heads


def test_an_answer_depends_on_its_own_question_alone(classifier: Classifier) -> None:
    for task in module.TASKS:
        names, others = ["animals", "days of the week"], ["Another <<text>> between", TEXT + ", too"]
        both = classifier.answers(task, [TEXT], names)[0]
        classifier.answers(task, others, ["anything"])
        assert [classifier.answers(task, [TEXT], [d])[0, 0] for d in names] == pytest.approx(both, abs=ROUNDING)
        assert classifier.answers(task, [others[0], TEXT, others[1]], names)[1] == pytest.approx(both, abs=ROUNDING)
        assert classifier.answers(task, [TEXT], names)[0].tolist() == both.tolist()
        assert np.isfinite(both).all()
        assert both[0] != both[1]


def test_yes_or_no_is_what_the_model_says_next(smol: LLM, monkeypatch) -> None:
    """Against a twin that evaluates the whole prompt at once, with nothing shared."""
    monkeypatch.setattr("neurolocal.llm.model.CHAT_FROM", 0)
    plain = TEXT.replace("<<", "").replace(">>", "")
    found = Classifier(smol).answers("detection", [plain], ["animals"])[0, 0]
    question = module.QUESTIONS["detection"].format(description="animals")
    parts = smol.chat_parts()
    assert parts is not None
    pieces = [smol.tokenize(piece, after="") for piece in ("Text: ", f"{plain}\n\n", question)]
    prompt = [token for piece in (parts[0], *pieces, parts[1]) for token in piece]
    smol.prepare([])
    spoken = {a: log_probabilities(smol, prompt, [a])[0][0] for a in ("yes", "Yes", "no", "No")}
    slow = np.logaddexp(spoken["yes"], spoken["Yes"]) - np.logaddexp(spoken["no"], spoken["No"])
    assert found == pytest.approx(slow, abs=0.5), "quantised weights: other batches, other rounding"


def test_yes_or_no_in_solved_cases_against_one_prompt(stories: LLM, monkeypatch) -> None:
    """The same of a float32 model without a template, where rounding is small."""
    monkeypatch.setattr("neurolocal.llm.model.CHAT_FROM", 0)
    classifier = Classifier(stories)
    found = classifier.answers("fuzzing", [TEXT], ["animals"])[0, 0]
    question = f"{module.QUESTIONS['fuzzing'].format(description='animals')}\nAnswer:"
    plain = TEXT.replace("<<", "").replace(">>", "")
    pieces = [stories.tokenize(piece, after="") for piece in (f"{plain}\nWord: frog\n", question)]
    prompt = [*stories.tokenize(classifier.heads[1]), *pieces[0], *pieces[1]]
    options = [stories.tokenize(a, after="x")[0] for a in (" yes", " Yes", " no", " No")]
    stories.prepare([])
    ((yes, yes2, no, no2),) = next_log_probabilities(stories, [Prompt(prompt, [len(prompt)])], options)[0].tolist()
    assert found == pytest.approx(np.logaddexp(yes, yes2) - np.logaddexp(no, no2), abs=0.02)


def test_a_text_that_does_not_fit_is_an_error(stories: LLM) -> None:
    with pytest.raises(LLMError, match="do not fit"):
        Classifier(stories).answers("detection", ["word " * 4000], ["animals"])


def test_a_small_models_word_stands_behind_the_text(stories: LLM) -> None:
    classifier = Classifier(stories)
    assert classifier.prompt("fuzzing", TEXT).endswith("they saw a frog there: frog ->")
    assert classifier.prompt("detection", "cout << a; cin >> b") == "cout << a; cin >> b ->", "no mark of ours"
    assert not re.search("<<|>>", classifier.heads[0])
    assert "a wasp".casefold() in classifier.heads[1].casefold()


def test_the_prompts_are_those_that_were_measured() -> None:
    """The README's figures are of these words: change both or none."""
    heads = [module._head(task, way) for task in module.TASKS for way in ("likelihood", "completion")]
    assert digest(*heads) == "4fb449b8840e8381"
    assert digest(*module.QUESTIONS.values()) == "8e9e05eefd4c4436"


def digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
