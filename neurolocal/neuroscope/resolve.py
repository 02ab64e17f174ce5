"""Token strings -> the token ids behind them.

A page shows each token as text, and a token that is part of a character as U+FFFD. A string that one id alone stands
for is looked up. Where several do (a letter and its byte in a SentencePiece vocabulary, runs of spaces) or the
character is broken, the reading counts that the tokenizer itself gives for the text around it; where it gives none, or
several readings give themselves back, the token stays unknown.
Invariant: an id's string is the string; nothing is guessed. Cost: a look-up a token; rows with doubtful tokens are
encoded once, and runs of broken characters tried out, at most `READINGS` each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, Integer

from neurolocal.words import Vocabulary

READINGS = 512
"""Readings of one run of broken characters that are tried before it is given up as ambiguous."""

AROUND = 12
"""Tokens on either side of such a run that are encoded with it."""

EDGE = 4
"""Tokens at either end of a stretch of text that its encoding may cut in another way."""

BROKEN = "\ufffd"


@runtime_checkable
class Tokenizes(Protocol):
    """What is needed of a subject."""

    @property
    def vocabulary(self) -> Vocabulary: ...  # noqa: D102
    def encode_documents(self, texts: list[str]) -> list[tuple[Any, Any]]: ...  # noqa: D102
    def encode_exactly(self, text: str) -> list[int] | None: ...  # noqa: D102


class Row(NamedTuple):
    """A row in a tokenizer's ids."""

    ids: Int64[np.ndarray, "pos"]
    """-1 where the id stays unknown."""

    @property
    def known(self) -> int:
        """Tokens before the first unknown one."""
        unknown = np.flatnonzero(self.ids < 0)
        return int(unknown[0]) if len(unknown) else len(self.ids)


@dataclass
class Resolver:
    """Finds the ids of a store's token strings in a subject's vocabulary."""

    subject: Tokenizes
    strings: list[str]
    """Of the store's token numbers."""
    absent: int = 0
    """Tokens so far that no id stands for: another tokenizer."""
    ambiguous: int = 0
    """Tokens so far that stay ambiguous."""
    _ids: dict[str, list[int]] = field(default_factory=dict)
    _single: dict[str, int | None] = field(default_factory=dict)
    _tried: dict[Any, list[int] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Look every string up once."""
        vocabulary = self.subject.vocabulary
        for i, text in enumerate(vocabulary.str_tokens(range(len(vocabulary.tokens)))):
            if text:
                self._ids.setdefault(text, []).append(i)
        found = [self._ids.get(s, []) for s in self.strings]
        self._one = np.array([ids[0] if len(ids) == 1 else -1 for ids in found], np.int64)
        self._none = np.array([not ids for ids in found], bool)
        self._unshown = np.array([not s for s in self.strings], bool)  # of a row of which only windows were seen
        self._broken = np.array([BROKEN in s for s in self.strings], bool)
        ends = [not ids or bool(vocabulary.special[ids[0]]) for ids in found]
        self._wall = np.array(ends, bool) | self._broken

    def resolve(self, row: Integer[np.ndarray, "pos"]) -> Row:
        """The ids of a row of the store's numbers."""
        row = row.astype(np.int64)
        ids = self._one[row]
        self.absent += int((self._none & ~self._unshown)[row].sum())
        doubt = np.flatnonzero((ids < 0) & ~self._none[row])
        if len(doubt):
            whole = doubt[~self._broken[row[doubt]]]
            for start, stop in _runs(~self._wall[row]):
                if ((whole >= start) & (whole < stop)).any():
                    self._reencode(row, ids, start, stop)
            for start, stop in _runs(self._broken[row] & (ids < 0) & ~self._none[row]):
                self._try(row, ids, start, stop)
            self.ambiguous += int(((ids < 0) & ~self._none[row]).sum())
        return Row(ids)

    def _reencode(self, row: Int64[np.ndarray, "pos"], ids: Int64[np.ndarray, "pos"], start: int, stop: int) -> None:
        """Give a stretch of whole text the ids that the tokenizer gives it, where its tokens are the same."""
        pieces = [self.strings[i] for i in row[start:stop]]
        encoded, starts = self.subject.encode_documents(["".join(pieces)])[0]
        if starts is None:
            return
        at = dict(zip(starts.tolist(), encoded.tolist(), strict=True))
        place = 0
        for i, piece in enumerate(pieces):
            found = at.get(place)
            if ids[start + i] < 0 and found not in self._ids[piece] and not EDGE <= i < len(pieces) - EDGE:
                found = self._alone(piece)  # a row may begin and end inside a word
            if ids[start + i] < 0 and found in self._ids[piece]:
                ids[start + i] = found
            place += len(piece)

    def _alone(self, piece: str) -> int | None:
        """The one id that the tokenizer gives a string in the middle of a text."""
        if piece not in self._single:
            found = self.subject.encode_exactly(piece) or []
            self._single[piece] = found[0] if len(found) == 1 else None
        return self._single[piece]

    def _try(self, row: Int64[np.ndarray, "pos"], ids: Int64[np.ndarray, "pos"], start: int, stop: int) -> None:
        """Give a run of broken characters the one reading that the tokenizer gives back, if it is one."""
        low, high = max(start - AROUND, 0), min(stop + AROUND, len(row))
        low = max([low, *(i + 1 for i in range(low, start) if ids[i] < 0 or self._wall[row[i]])])
        high = min([high, *(i for i in range(stop, high) if ids[i] < 0 or self._wall[row[i]])])
        key = tuple(row[low:high].tolist()), start - low, stop - low
        if key not in self._tried:
            self._tried[key] = self._reading(row[start:stop], ids[low:start].tolist(), ids[stop:high].tolist())
        if (found := self._tried[key]) is not None:
            ids[start:stop] = found

    def _reading(self, run: Int64[np.ndarray, "run"], before: list[int], behind: list[int]) -> list[int] | None:
        text = self.subject.vocabulary.text
        readings = list(_readings([self._ids[self.strings[i]] for i in run], self.subject.vocabulary))
        if len(readings) > READINGS:
            return None
        good = []
        encoded = self.subject.encode_documents([text([*before, *reading, *behind]) for reading in readings])
        for reading, (ids, _) in zip(readings, encoded, strict=True):
            listed, n = ids.tolist(), len(reading)
            if any(listed[i : i + n] == reading for i in range(max(len(listed) - n + 1, 0))):
                good.append(reading)
        return good[0] if len(good) == 1 else None


def _runs(mask: Any) -> list[tuple[int, int]]:
    """Where a mask is True, as half-open ranges."""
    edges = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


def _readings(choices: list[list[int]], vocabulary: Vocabulary) -> Iterator[list[int]]:
    """The choices that together are whole characters; ends soon after `READINGS` of them."""
    found, steps = 0, 0
    waiting: list[tuple[list[int], bytes]] = [([], b"")]
    while waiting:
        chosen, rest = waiting.pop()
        steps += 1
        if found > READINGS or steps > 64 * READINGS:
            if found <= READINGS:  # given up before all were seen
                yield from ([[-1]] * (READINGS + 1))
            return
        if len(chosen) == len(choices):
            if not rest:
                found += 1
                yield chosen
            continue
        for token in choices[len(chosen)]:
            left = _unfinished(rest + vocabulary.tokens[token])
            if left is not None:
                waiting.append(([*chosen, token], left))


def _unfinished(data: bytes) -> bytes | None:
    """The begun character at the end of some bytes, empty where there is none; None where the bytes are no text."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return data[error.start :] if error.reason == "unexpected end of data" else None
    return b""
