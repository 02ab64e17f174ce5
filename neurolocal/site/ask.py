"""Questions to the subject: what may be asked, one at a time in a thread of its own, under limits.

Invariant: a question is checked before the subject sees it: the kinds of its values, the length of the text, the number
of neurons. At most `WAITING` questions wait. Cost: a forward pass a question, up to the deepest layer that it asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import orjson

LONGEST_TEXT = 4_000
"""Characters of a text that may be asked about."""

MOST_NEURONS = 50
"""Neurons that one question may name, and that the strongest ones may be."""

WAITING = 8
"""Questions that may wait or run at the same time; one more is refused."""

SECONDS = 60.0
"""Seconds after which a question that waits or runs is given up."""

FIELDS = ("text", "neurons", "strongest")
"""The fields of a question."""


class QuestionError(Exception):
    """A question that is not answered; the HTTP status and why."""

    def __init__(self, status: int, why: str) -> None:
        """Keep both."""
        super().__init__(why)
        self.status, self.why = status, why


class Question(NamedTuple):
    """A text, and the neurons whose activations on it are wanted."""

    text: str
    neurons: tuple[tuple[int, int], ...]
    """Each as (layer, index); empty: the strongest ones."""
    strongest: int
    """How many neurons that the text excites most; used where `neurons` is empty."""


def parse(body: bytes) -> Question:
    """A question from JSON: `{"text": "...", "neurons": [[14, 159]]}` or `{"text": "...", "strongest": 10}`.

    Raises:
        QuestionError: it is none, or asks for too much.
    """
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise QuestionError(400, "the body is no JSON in UTF-8; expected an object with the field text") from error
    if not isinstance(said, dict) or not set(said) <= set(FIELDS) or {"neurons", "strongest"} <= set(said):
        raise QuestionError(400, "expected an object with text, and either neurons or strongest")
    text, pairs, strongest = said.get("text"), said.get("neurons", []), said.get("strongest", 10)
    if not isinstance(text, str) or not text:
        raise QuestionError(400, "the field text is empty or no string; write a sentence there")
    if len(text) > LONGEST_TEXT:
        raise QuestionError(413, f"the text has {len(text):,} characters; at most {LONGEST_TEXT:,} are read")
    if not isinstance(pairs, list) or not all(map(_is_pair, pairs)) or (not pairs and "neurons" in said):
        raise QuestionError(400, "the field neurons is no list of pairs [layer, neuron], for example [[14, 159]]")
    if type(strongest) is not int or not 1 <= strongest <= MOST_NEURONS or len(pairs) > MOST_NEURONS:
        raise QuestionError(400, f"a question is about 1 to {MOST_NEURONS} neurons")
    return Question(text, tuple((layer, neuron) for layer, neuron in pairs), strongest)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(n) is int and 0 <= n < 2**31 for n in value)


class Asker:
    """Asks the subject one question after another, in one thread: its passes use all cores of the machine."""

    def __init__(self, answer: Callable[[Question], dict[str, Any]], *, seconds: float = SECONDS) -> None:
        """Name who answers.

        Args:
            answer: a question -> a plain object of strict JSON.
            seconds: after which a question is given up.
        """
        self._answer, self._seconds, self._waiting = answer, seconds, 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="subject")

    async def ask(self, question: Question) -> dict[str, Any]:
        """The answer to a question.

        Raises:
            QuestionError: too many questions wait, or it takes too long.
        """
        if self._waiting >= WAITING:
            raise QuestionError(503, f"{WAITING} questions wait for the subject; ask again in a moment")
        self._waiting += 1
        job = self._thread.submit(self._answer, question)
        job.add_done_callback(_into(asyncio.get_running_loop(), self._done))
        try:
            # A question that runs cannot be stopped: it keeps its place until it ends. One that waits is taken out.
            return await asyncio.wait_for(asyncio.wrap_future(job), self._seconds)
        except TimeoutError as error:
            raise QuestionError(503, f"no answer within {self._seconds:g} s; ask again, or a shorter text") from error

    def begin(self, question: Question) -> None:
        """Ask without waiting: what is slow the first time is done before a person asks. Errors come again then."""
        self._thread.submit(self._answer, question)

    def close(self) -> None:
        """Wait for the question that runs; those that wait are dropped."""
        self._thread.shutdown(cancel_futures=True)

    def _done(self) -> None:
        self._waiting -= 1


def _into(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> Callable[[Any], None]:
    """A callback of any thread that calls a function in a loop's thread; nothing where the loop has ended."""

    def call(_: Any) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(function)

    return call
