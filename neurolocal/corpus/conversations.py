"""Chat records: the messages of a conversation, as one form, whatever form the data set has them in.

Invariant: a message that is no text is refused with its record, never guessed. Cost: nothing beside the record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

FIELDS = ("messages", "conversations", "conversation")
"""Where data sets keep a conversation, in the order in which they are looked for."""

SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant"}
"""ShareGPT's names of roles, in the names that chat templates know."""

TEMPLATE = "(template)"
"""The role of what a chat template writes between messages."""

LONGEST_ROLE = 40
"""Most characters of a role's name."""

Message = dict[str, Any]
"""`role`, `content` (a text), and what else the record states of it."""


RoleSpan = tuple[int, int, str]
"""The place of one message's content in its conversation's text: its first character, the one behind its last, and
its role; in code points."""

Render = Callable[[list[Message]], tuple[str, Sequence[RoleSpan]]]
"""A conversation -> its text by the subject's chat template, and where its messages are, ascending.

It raises ValueError where the template refuses the conversation.
"""


def messages_of(value: Mapping[str, Any], text_field: str) -> list[Message] | None:
    """The conversation in a record; None where there is none.

    Raises:
        ValueError: a conversation with a message that is none.
    """
    for name in (text_field, *FIELDS):
        found = value.get(name)
        if isinstance(found, list) and found and all(isinstance(one, dict) for one in found):
            return [_message(one) for one in found]
    return None


def _message(one: Mapping[str, Any]) -> Message:
    role, content = one.get("role", one.get("from")), one.get("content", one.get("value"))
    if isinstance(content, list):  # texts and pictures in parts: the texts
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type", "text") == "text"]
        content = "".join(text for text in texts if isinstance(text, str))
    if content is None and one.get("tool_calls"):
        content = ""
    if not isinstance(role, str) or not isinstance(content, str):
        raise ValueError(f"a message with {', '.join(map(repr, list(one)[:4]))}; expected role and content")
    role = role[:LONGEST_ROLE].strip()
    rest = {name: x for name, x in one.items() if name not in {"role", "from", "content", "value"}}
    return {"role": SPEAKERS.get(role.casefold(), role), "content": content, **rest}
