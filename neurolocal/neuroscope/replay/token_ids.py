"""Token strings -> the token ids behind them.

A page shows each token as text, and a token that is part of a character as U+FFFD. A string that belongs to exactly one
id is looked up. If it belongs to several (a letter and its byte in a SentencePiece vocabulary, runs of spaces), or the
character is broken, candidate ids are decoded and encoded again with the text around them, and the ids that the
tokenizer returns are taken. If it returns none of the candidates, or several, the token stays unknown.
Invariant: the string of an id equals the page's string; nothing is guessed.
Cost: one look-up a token; one encoding of each row with ambiguous tokens; at most `READINGS` encodings of each run of
broken characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, Integer

from neurolocal.words import Vocabulary

READINGS = 512
"""Candidate readings of one run of broken characters; with more, the run stays ambiguous."""

AROUND = 12
"""Tokens on either side of such a run that are encoded with it."""

EDGE = 4
"""Tokens at either end of a stretch of text that the tokenizer may split differently than in the row."""

BROKEN = "\ufffd"


@runtime_checkable
class TokenizerLike(Protocol):
    """The part of a subject that is needed here."""

    @property
    def vocabulary(self) -> Vocabulary: ...  # noqa: D102
    def encode_documents(self, texts: list[str]) -> list[tuple[Any, Any]]: ...  # noqa: D102
    def encode_exactly(self, text: str) -> list[int] | None: ...  # noqa: D102


class ResolvedRow(NamedTuple):
    """A row in a tokenizer's ids."""

    ids: Int64[np.ndarray, "pos"]
    """-1 for an unknown id."""

    @property
    def known(self) -> int:
        """Tokens before the first unknown one."""
        unknown = np.flatnonzero(self.ids < 0)
        return int(unknown[0]) if len(unknown) else len(self.ids)


@dataclass
class TokenResolver:
    """Finds the ids of a store's token strings in a subject's vocabulary."""

    subject: TokenizerLike
    strings: list[str]
    """The string of each of the store's token numbers."""
    absent: int = 0
    """Tokens so far whose string the vocabulary does not have: another tokenizer."""
    ambiguous: int = 0
    """Tokens so far that stay ambiguous."""
    _ids: dict[str, list[int]] = field(default_factory=dict)
    _single: dict[str, int | None] = field(default_factory=dict)
    _readings_found: dict[Any, list[int] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Look up every string once."""
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

    def resolve(self, row: Integer[np.ndarray, "pos"]) -> ResolvedRow:
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
                self._resolve_broken(row, ids, start, stop)
            self.ambiguous += int(((ids < 0) & ~self._none[row]).sum())
        return ResolvedRow(ids)

    def _reencode(self, row: Int64[np.ndarray, "pos"], ids: Int64[np.ndarray, "pos"], start: int, stop: int) -> None:
        """Resolve a stretch of unbroken text by encoding it, where the encoding has the same tokens."""
        pieces = [self.strings[i] for i in row[start:stop]]
        encoded, starts = self.subject.encode_documents(["".join(pieces)])[0]
        if starts is None:
            return
        at = dict(zip(starts.tolist(), encoded.tolist(), strict=True))
        place = 0
        for i, piece in enumerate(pieces):
            found = at.get(place)
            if ids[start + i] < 0 and found not in self._ids[piece] and not EDGE <= i < len(pieces) - EDGE:
                found = self._alone(piece)  # a row may begin or end inside a word
            if ids[start + i] < 0 and found in self._ids[piece]:
                ids[start + i] = found
            place += len(piece)

    def _alone(self, piece: str) -> int | None:
        """The id of a string by itself; None if the tokenizer splits it."""
        if piece not in self._single:
            found = self.subject.encode_exactly(piece) or []
            self._single[piece] = found[0] if len(found) == 1 else None
        return self._single[piece]

    def _resolve_broken(
        self, row: Int64[np.ndarray, "pos"], ids: Int64[np.ndarray, "pos"], start: int, stop: int
    ) -> None:
        """Resolve a run of broken characters if exactly one reading survives decoding and encoding."""
        low, high = max(start - AROUND, 0), min(stop + AROUND, len(row))
        low = max([low, *(i + 1 for i in range(low, start) if ids[i] < 0 or self._wall[row[i]])])
        high = min([high, *(i for i in range(stop, high) if ids[i] < 0 or self._wall[row[i]])])
        key = tuple(row[low:high].tolist()), start - low, stop - low
        if key not in self._readings_found:
            self._readings_found[key] = self._reading(row[start:stop], ids[low:start].tolist(), ids[stop:high].tolist())
        if (found := self._readings_found[key]) is not None:
            ids[start:stop] = found

    def _reading(self, run: Int64[np.ndarray, "run"], before: list[int], behind: list[int]) -> list[int] | None:
        """The one reading of a run that the tokenizer returns between these ids; None if none or several."""
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
    """The half-open ranges in which a mask is True."""
    edges = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


def _readings(choices: list[list[int]], vocabulary: Vocabulary) -> Iterator[list[int]]:
    """The combinations of ids whose bytes are whole characters; stops soon after `READINGS` of them."""
    found, steps = 0, 0
    waiting: list[tuple[list[int], bytes]] = [([], b"")]
    while waiting:
        chosen, rest = waiting.pop()
        steps += 1
        if found > READINGS or steps > 64 * READINGS:
            if found <= READINGS:  # stopped before all were seen
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
    """The incomplete character at the end of some bytes, empty if there is none; None if the bytes are no UTF-8."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return data[error.start :] if error.reason == "unexpected end of data" else None
    return b""
