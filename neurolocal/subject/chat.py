"""Conversations -> text, by the subject's own chat template, and where each message stands in it.

Invariant: the text is that of transformers's `apply_chat_template`, without a BOS at its beginning, which the row has.
The template is foreign code; it runs in transformers's sandbox, in a process of its own under limits.
Cost: one rendering for each conversation, and one for each order of roles; the process starts once.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neurolocal.bounded import Bounded, LimitError
from neurolocal.errors import SubjectError

OPEN, CLOSE = "\ue3f0", "\ue3f1"
"""Private characters around a message's number, in the rendering that shows where messages stand."""

NUMBER = re.compile(f"{OPEN}([0-9]+){CLOSE}")

SECONDS = 3.0
"""Seconds that a template may take for a conversation; real ones take milliseconds."""


class MessagePlace(NamedTuple):
    """Where a message's content stands in the text of its conversation, in code points."""

    start: int
    """Its first character."""
    end: int
    """Behind its last one."""
    role: str
    """Whose message it is."""


class ChatTemplate:
    """A chat template, with the texts of the control tokens that it may write."""

    def __init__(self, template: str, *, bos: str | None = None, eos: str | None = None) -> None:
        """Wrap a Jinja template."""
        self.template, self._tokens = template, {"bos_token": bos or "", "eos_token": eos or ""}
        self._frames: dict[tuple[str, ...], list[str] | None] = {}
        self._process = Bounded(Path(__file__).with_name("chat_child.py"), seconds=SECONDS)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what it was made from; a copy has a process of its own."""
        tokens = {name.removesuffix("_token"): text for name, text in self._tokens.items()}
        return functools.partial(ChatTemplate, self.template, **tokens), ()

    def render(self, messages: Sequence[dict[str, Any]]) -> tuple[str, list[MessagePlace]]:
        """The text of a conversation, and the places of its messages, ascending; one that the template omits has none.

        Raises:
            ValueError: the template refuses the conversation; with its reason.
            SubjectError: the template takes too much time or memory, or writes too much.
        """
        text = self._text(messages)
        return text, list(_places(text, messages, self._frame(messages)))

    def _text(self, messages: Sequence[dict[str, Any]]) -> str:
        try:
            found = self._process.ask([self.template, self._tokens, list(messages)])
        except ValueError as error:
            raise ValueError(f"the chat template refuses it: {error}") from error
        except LimitError as error:
            raise SubjectError(
                f"writing a conversation by the subject's chat template: {error}, and was stopped. A template that "
                "loops or multiplies text is broken or hostile: put the model's own chat_template.jinja beside it."
            ) from error
        return found.removeprefix(self._tokens["bos_token"])

    def _frame(self, messages: Sequence[dict[str, Any]]) -> list[str] | None:
        """What the template writes before, between and behind the messages; None unless each comes once, in order."""
        roles = tuple(str(one["role"]) for one in messages)
        if roles not in self._frames:
            try:
                numbered = [{"role": role, "content": f"{OPEN}{i}{CLOSE}"} for i, role in enumerate(roles)]
                parts = NUMBER.split(self._text(numbered))
            except ValueError:
                parts = []
            whole = parts[1::2] == [str(i) for i in range(len(roles))]
            self._frames[roles] = parts[::2] if whole else None
        return self._frames[roles]


def _places(text: str, messages: Sequence[dict[str, Any]], frame: list[str] | None) -> Iterator[MessagePlace]:
    """The places of the messages: by the frame as far as it fits, then by looking for each content in turn."""
    place, fits = 0, frame is not None
    for i, one in enumerate(messages):
        content = str(one["content"])
        forms = list(dict.fromkeys([content, content.strip(), content.rstrip(), content.lstrip()]))
        if frame is not None and fits and text.startswith(frame[i], place):
            begin = place + len(frame[i])
            behind = frame[i + 1]
            length = next((len(s) for s in forms if text.startswith(s + behind, begin)), None)
            if length is None and (behind or i + 1 == len(messages)):  # the template changed the content
                found = text.find(behind, begin) if behind else len(text)
                length = found - begin if found >= 0 else None
            if length is not None:
                place = begin + length
                yield MessagePlace(begin, place, str(one["role"]))
                continue
        fits = False
        begin = text.find(content.strip(), place) if content.strip() else -1
        if begin >= 0:
            place = begin + len(content.strip())
            yield MessagePlace(begin, place, str(one["role"]))
