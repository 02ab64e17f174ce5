"""An LLM as a classifier: does a description fit a text?

A model of a billion parameters or more is asked in its chat template (after solved cases, where it has no template),
and the answer is log P(yes) - log P(no). A smaller model only guesses when it is asked that way, but it gives the
description of a text a higher probability after that text than after another one (see README.md). So the answer of a
smaller model is log P(description | text), minus the largest log P(description | other text) over six texts on other
topics.

Invariant: an answer depends on the LLM, the description and the text alone, to rounding; an answer above 0 is a yes.
Cost: the tokens of a text once for all descriptions, and those of each description, many texts a decode; for a smaller
model also those of the other texts, once a description.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64

from neurolocal.llm import LLM, Prompt, log_probabilities_of_texts, next_log_probabilities

Way = Literal["chat", "completion", "likelihood"]
"""How the model is asked: in its chat template, in solved cases, or not at all (by likelihood)."""

Task = Literal["detection", "fuzzing"]

CASES: tuple[tuple[str, str, str], ...] = (
    ("furniture", "He sat down at the old <<table>> and opened the letter that had come in the morning", "yes"),
    ("weather", "The <<company>> reported higher profits than in the year before, and its shares rose", "no"),
    ("insects", "A <<wasp>> flew into the room, turned round twice above the bread and was gone", "yes"),
    ("shapes", "She read the <<newspaper>> until the others had come home", "no"),
    ("tools", "He took the <<hammer>> from the bench and went out to mend the fence", "yes"),
    ("verbs of cooking", "They could not <<remember>> who had written it, nor when", "no"),
)
"""Solved cases: (description, text, answer). No test and no benchmark may use these groups."""

QUESTIONS: dict[Task, str] = {
    "detection": 'Description: {description}\nDoes the text contain this? Answer only "yes" or "no".',
    "fuzzing": 'Description: {description}\nIs the word of this kind? Answer only "yes" or "no".',
}
"""The question after a text."""

MARK = re.compile("<<(.*?)>>")

TASKS: tuple[Task, ...] = ("detection", "fuzzing")


class Classifier:
    """An LLM whose prompt heads are evaluated once."""

    def __init__(self, llm: LLM, *, more: Sequence[str] = ()) -> None:
        """Choose the way to ask by the size of the model, and prepare the heads; behind them `more` of other users."""
        self.llm = llm
        parts = llm.chat_parts() if llm.chats else None
        self.way: Way = "likelihood" if not llm.chats else "completion" if parts is None else "chat"
        self._baselines: dict[tuple[Task, str], float] = {}
        self._end: list[int] = parts[1] if parts else []
        self.heads = ["Text: "] if parts else [_head(task, self.way) for task in TASKS]
        """What stands before every text, after the beginning of the chat template; the store keeps it."""
        self._head = {task: 0 if parts else i for i, task in enumerate(TASKS)}
        own = [parts[0] + llm.tokenize(self.heads[0], after="")] if parts else self.heads
        llm.prepare([*own, *more])

    def prompt(self, task: Task, text: str) -> str:
        """The part of a prompt that belongs to this text."""
        if self.way != "likelihood":
            return f"{_with_word(task, text)}\n"
        return f"{_before_arrow(task, text)} ->"

    def answers(
        self, task: Task, texts: Sequence[str], descriptions: Sequence[str]
    ) -> Float64[np.ndarray, "text description"]:
        """How well each description fits each text, in nats; above 0 is yes.

        Raises:
            LLMError: a text and a description do not fit into the context.
        """
        if self.way == "likelihood":
            return self._by_likelihood(task, texts, descriptions)
        asked = [QUESTIONS[task].format(description=d) for d in descriptions]
        llm = self.llm
        if self.way == "chat":
            bodies = [llm.tokenize(f"{_with_word(task, text)}\n\n", after="") for text in texts]
            questions = [llm.tokenize(a, after="") + self._end for a in asked]
            options = [llm.tokenize(a, after="")[:1] for a in ("yes", "Yes", "no", "No")]
        else:
            bodies = [llm.tokenize(f"{_with_word(task, text)}\n", after="") for text in texts]
            questions = [llm.tokenize(f"{a}\nAnswer:", after="") for a in asked]
            options = [llm.tokenize(a, after="x")[:1] for a in (" yes", " Yes", " no", " No")]
        prompts = [Prompt([*body, *asks], [len(body) + len(asks)]) for body in bodies for asks in questions]
        found = next_log_probabilities(llm, prompts, [o[0] for o in options], head=self._head[task])
        each = [float(np.logaddexp(f[0], f[1]) - np.logaddexp(f[2], f[3])) for (f,) in found]
        return np.array(each, np.float64).reshape(len(texts), len(descriptions))

    def _by_likelihood(
        self, task: Task, texts: Sequence[str], descriptions: Sequence[str]
    ) -> Float64[np.ndarray, "text description"]:
        endings = [f" {d}\n" for d in descriptions]
        given = self._log_probabilities(task, texts, endings)
        return given - [self._baseline(task, ending) for ending in endings]

    def _log_probabilities(
        self, task: Task, texts: Sequence[str], endings: Sequence[str]
    ) -> Float64[np.ndarray, "text ending"]:
        """Log-probability of each ending after each text."""
        prompts = [self.prompt(task, text) for text in texts]
        found = log_probabilities_of_texts(self.llm, prompts, endings, head=self._head[task])
        each = [float(one.sum()) for of_text in found for one in of_text]
        return np.array(each, np.float64).reshape(len(texts), len(endings))

    def _baseline(self, task: Task, ending: str) -> float:
        """The largest log-probability of a description after the texts of the solved cases, which have other topics.

        The maximum and not the mean: a neuron fires in one text of a hundred or fewer, so a yes must be rare.
        """
        if (task, ending) not in self._baselines:
            texts = [text for _, text, _ in _cases(task)]
            self._baselines[task, ending] = float(self._log_probabilities(task, texts, [ending]).max())
        return self._baselines[task, ending]


def _head(task: Task, way: Way) -> str:
    """The solved cases, as a list that the model continues."""
    if way == "likelihood":
        solved = "".join(
            f"{_before_arrow(task, text)} -> {name}\n" for name, text, answer in _cases(task) if answer == "yes"
        )
        return f"Say what {'the text tells of' if task == 'detection' else 'the last word is'}.\n{solved}"
    asked, solved = QUESTIONS[task], []
    for name, text, answer in _cases(task):
        solved.append(f"Text: {_with_word(task, text)}\n{asked.format(description=name)}\nAnswer: {answer}\n\n")
    return "".join(solved) + "Text: "


def _cases(task: Task) -> list[tuple[str, str, str]]:
    """The solved cases; only fuzzing keeps the marks."""
    return [(name, text if task == "fuzzing" else MARK.sub(r"\1", text), answer) for name, text, answer in CASES]


def _before_arrow(task: Task, text: str) -> str:
    """A text before the arrow of a likelihood prompt; of fuzzing with the marked word at the end, not with a mark."""
    return "{}: {}".format(*_unmarked(text)) if task == "fuzzing" else text


def _with_word(task: Task, text: str) -> str:
    """A text before a question; of fuzzing, without the mark and with the marked word on the next line."""
    return "{}\nWord: {}".format(*_unmarked(text)) if task == "fuzzing" else text


def _unmarked(text: str) -> tuple[str, str]:
    """A text without its mark, and the word that was marked."""
    marked = MARK.search(text)
    assert marked is not None, "a text without a mark"
    return MARK.sub(r"\1", text), marked[1]
