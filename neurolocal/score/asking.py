"""Asking an LLM whether a description fits a text: yes or no where it can answer, by likelihood where it can't.

A model of a billion parameters and more is asked in its chat template (in solved cases, where it has none), and the
answer is log P(yes) - log P(no). Asked so, SmolLM2-135M guesses (AUC 0.49 on planted concepts); but it finds the name
of what a text holds more probable behind that text than another's (0.77, against 0.61 of a random name). So a smaller
model's answer is log P(description | text), less the most that it is behind any of six texts on other things.

Invariant: an answer depends on LLM, description and text alone; above 0 is yes. Text and head are evaluated once for
all descriptions. Cost: the text's tokens, and each description's twice at most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from neurolocal.llm.model import LLM

Way = Literal["chat", "completion", "likelihood"]

Task = Literal["detection", "fuzzing"]

CASES: tuple[tuple[str, str, str], ...] = (
    ("furniture", "He sat down at the old <<table>> and opened the letter that had come in the morning", "yes"),
    ("weather", "The <<company>> reported higher profits than in the year before, and its shares rose", "no"),
    ("insects", "A <<wasp>> flew into the room, turned round twice above the bread and was gone", "yes"),
    ("shapes", "She read the <<newspaper>> until the others had come home", "no"),
    ("tools", "He took the <<hammer>> from the bench and went out to mend the fence", "yes"),
    ("verbs of cooking", "They could not <<remember>> who had written it, nor when", "no"),
)
"""Solved cases: description, text, answer; no test and no benchmark may use these groups."""

ASKED: dict[Task, str] = {
    "detection": 'Description: {description}\nDoes the text contain this? Answer only "yes" or "no".',
    "fuzzing": 'Description: {description}\nIs the word of this kind? Answer only "yes" or "no".',
}
"""The question behind a text."""

MARK = re.compile("<<(.*?)>>")

TASKS: tuple[Task, ...] = ("detection", "fuzzing")


class Asker:
    """An LLM ready to be asked; what its calls share is evaluated once."""

    def __init__(self, llm: LLM) -> None:
        """Choose the way to ask, and prepare the heads."""
        self.llm = llm
        parts = llm.chat_parts() if llm.chats else None
        self.way: Way = "likelihood" if not llm.chats else "completion" if parts is None else "chat"
        self._plain: dict[tuple[Task, str], float] = {}
        self._end: list[int] = parts[1] if parts else []
        self.heads = ["Text: "] if parts else [_head(task, self.way) for task in TASKS]
        """What stands before every text, behind the chat template's own beginning; to be kept for audit."""
        self._head = {task: 0 if parts else i for i, task in enumerate(TASKS)}
        llm.prepare([parts[0] + llm.tokenize(self.heads[0], after="")] if parts else self.heads)

    def prompt(self, task: Task, text: str) -> str:
        """The part of a prompt that is this text's own."""
        if self.way != "likelihood":
            return f"{_shown(task, text)}\n"
        return f"{_behind(task, text)} ->"

    def ask(self, task: Task, text: str, descriptions: Sequence[str]) -> list[float]:
        """How far each description fits, in nats; above 0 is yes.

        Raises:
            LLMError: text and description do not fit into the context.
        """
        if self.way == "likelihood":
            return self._by_likelihood(task, text, descriptions)
        said = [ASKED[task].format(description=d) for d in descriptions]
        llm = self.llm
        if self.way == "chat":
            body = llm.tokenize(f"{_shown(task, text)}\n\n", after="")
            questions = [llm.tokenize(s, after="") + self._end for s in said]
            answers = [llm.tokenize(a, after="")[:1] for a in ("yes", "Yes", "no", "No")]
        else:
            body = llm.tokenize(f"{_shown(task, text)}\n", after="")
            questions = [llm.tokenize(f"{s}\nAnswer:", after="") for s in said]
            answers = [llm.tokenize(a, after="x")[:1] for a in (" yes", " Yes", " no", " No")]
        found = llm.next_log_probabilities(body, questions, [a[0] for a in answers], head=self._head[task])
        return [float(np.logaddexp(f[0], f[1]) - np.logaddexp(f[2], f[3])) for f in found]

    def _by_likelihood(self, task: Task, text: str, descriptions: Sequence[str]) -> list[float]:
        spelt = [f" {d}\n" for d in descriptions]
        given = self.llm.log_probabilities(self.prompt(task, text), spelt, head=self._head[task])
        return [float(a.sum()) - self._elsewhere(task, said) for a, said in zip(given, spelt, strict=True)]

    def _elsewhere(self, task: Task, said: str) -> float:
        """The most probable that a description is behind any of the solved cases' texts, which speak of other things.

        A neuron fires in one text of a hundred or fewer, so yes is said only where it is more probable than in all.
        """
        if (task, said) not in self._plain:
            texts = [self.prompt(task, text) for _, text, _ in _cases(task)]
            found = [self.llm.log_probabilities(text, [said], head=self._head[task])[0].sum() for text in texts]
            self._plain[task, said] = float(max(found))
        return self._plain[task, said]


def _head(task: Task, way: Way) -> str:
    """The solved cases, for a model that goes on with a list; the word is marked only where that is the question."""
    if way == "likelihood":
        solved = "".join(f"{_behind(task, text)} -> {name}\n" for name, text, answer in _cases(task) if answer == "yes")
        return f"Say what {'the text tells of' if task == 'detection' else 'the last word is'}.\n{solved}"
    asked, solved = ASKED[task], []
    for name, text, answer in _cases(task):
        solved.append(f"Text: {_shown(task, text)}\n{asked.format(description=name)}\nAnswer: {answer}\n\n")
    return "".join(solved) + "Text: "


def _cases(task: Task) -> list[tuple[str, str, str]]:
    """The solved cases, with marks only where they are asked about."""
    return [(name, text if task == "fuzzing" else MARK.sub(r"\1", text), answer) for name, text, answer in CASES]


def _behind(task: Task, text: str) -> str:
    """A text as a likelihood is taken behind it: small models pass over marks, so the marked word is put last."""
    return "{}: {}".format(*_unmarked(text)) if task == "fuzzing" else text


def _shown(task: Task, text: str) -> str:
    """A text as it stands before a question of yes or no: the marked word below it."""
    return "{}\nWord: {}".format(*_unmarked(text)) if task == "fuzzing" else text


def _unmarked(text: str) -> tuple[str, str]:
    """A text without its mark, and the word that was marked."""
    marked = MARK.search(text)
    assert marked is not None, "a text without a mark"
    return MARK.sub(r"\1", text), marked[1]
