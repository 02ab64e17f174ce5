"""A record of a corpus -> a text and its subset, token ids, a conversation, or the reason why it is neither.

Invariant: what a record holds beside its text and its subset is not looked at. Cost: nothing beside the text.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from neurolocal.corpus.conversations import Message, Render, RoleSpan, messages_of
from neurolocal.corpus.sizes import CorpusFile

LONGEST_NAME = 200
"""Most characters of a subset's name; the rest is cut off, since a hostile name may be as long as a line."""


class Rules(NamedTuple):
    """What a reader takes for a document."""

    text_field: str
    """Field or column that holds the text."""
    longest: int
    """Most bytes of a record; a longer one is skipped."""
    d_vocab: int | None = None
    """Token ids that the subject has; None takes any."""


@dataclass(frozen=True)
class Defect:
    """The reason why a record is no document, and what was found instead."""

    reason: str
    found: str


@dataclass(frozen=True)
class Conversation:
    """A record that holds messages instead of a text."""

    messages: list[Message]
    subset: str


@dataclass(frozen=True, eq=False)
class TokenIds:
    """A record that holds token ids instead of a text."""

    tokens: Int32[np.ndarray, "n"]
    subset: str


Text = tuple[str, str, tuple[RoleSpan, ...]]
"""A document's text, its subset, and where its messages are."""

Record = Text | TokenIds | Conversation | Defect
FileReader = Callable[[CorpusFile, int, Rules], Iterator[tuple[int, int, Record]]]
"""(path, first record, rules) -> each record's number, the bytes of the file read so far, and the record."""


def too_long(n: int, rules: Rules) -> Defect:
    """Why a record of n bytes is skipped."""
    return Defect("longer than longest_record", f"{n:,} bytes; the limit is {rules.longest:,}")


def record_of(value: Mapping[str, Any], rules: Rules) -> Record:
    """The document or conversation in a record's fields."""
    text, meta = value.get(rules.text_field), value.get("meta")
    subset = meta.get("pile_set_name") if isinstance(meta, dict) else None
    subset = clean(subset[:LONGEST_NAME]) if isinstance(subset, str) else ""
    if isinstance(text, str):
        return clean(text), subset, ()
    try:
        if messages := messages_of(value, rules.text_field):
            return Conversation(messages, subset)
    except ValueError as error:
        return Defect("no conversation", str(error))
    kind = f"; {type(text).__name__} in it" if rules.text_field in value else ""
    return Defect(f'no text in the field "{rules.text_field}"', names(value) + kind)


def rendered(found: Conversation, render: Render | None) -> Text | Defect:
    """A conversation as the subject's chat template writes it."""
    if render is None:
        return Defect("a conversation, and the subject has no chat template", f"{len(found.messages)} messages")
    try:
        text, places = render(found.messages)
    except ValueError as error:
        return Defect("a conversation that the chat template refuses", str(error))
    return clean(text), found.subset, tuple(places)


def clean(text: str) -> str:
    """The text with lone surrogates replaced: JSON allows them, tokenizers refuse them."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def names(found: Iterable[Any]) -> str:
    """The first few names as one short line of ASCII."""
    return ", ".join(json.dumps(str(n)[:40]) for n in itertools.islice(found, 5)) or "nothing"
