"""Token ids -> text: token strings, and the whole word that a token belongs to.

Invariant: needs only the bytes of each token id, which the store holds, and no tokenizer; so every stage and every
reader finds the same words. One token may hold part of a character, so text is decoded from the joined bytes.
Cost: `word_at` decodes and searches `REACH` tokens on each side; `row_words` searches a row once, O(tokens), and then
each word is a look-up.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from jaxtyping import Bool, Int64, Integer

from neurolocal.words.marks import MARKS

_LETTERS = rf"[^\W\d_]+(?:[{MARKS}][^\W\d_]*)*"

WORD = re.compile(rf"{_LETTERS}(?:['’]{_LETTERS})*")
"""Letters of any script with their combining marks; apostrophes between letters belong to the word."""

REACH = 16
"""Tokens searched on each side of a position for the rest of its word."""


@dataclass(frozen=True)
class Word:
    """The whole word around a token: its text and the positions of its tokens."""

    text: str
    """The word as it stands in the text, without spaces; for a token without letters, its own stripped text."""
    start: int
    """First token position of the word."""
    end: int
    """Last token position + 1."""
    spaced: bool
    """Whether a space stands directly before the word inside its first token."""


@dataclass(frozen=True)
class Vocabulary:
    """The bytes that each token id stands for."""

    tokens: Sequence[bytes]
    """One entry a token id: UTF-8, or part of a character."""
    special: Bool[np.ndarray, "d_vocab"]
    """Control tokens such as BOS and EOS: they end a word and are not text."""

    @cached_property
    def lengths(self) -> Int64[np.ndarray, "d_vocab"]:
        """The number of bytes of each token."""
        return np.fromiter(map(len, self.tokens), np.int64, len(self.tokens))

    @cached_property
    def joinable(self) -> tuple[list[bytes], Int64[np.ndarray, "d_vocab"]]:
        """The bytes of each token as joined to a row's text, and how many they are.

        A control token becomes NUL: it is no letter, and it ends an incomplete character, as the end of a row does.
        """
        pieces = [b"\0" if end else token for token, end in zip(self.tokens, self.special.tolist(), strict=True)]
        return pieces, np.array([len(piece) for piece in pieces], np.int64)

    def text(self, tokens: Iterable[int | np.integer]) -> str:
        """The text of the ids; incomplete characters become U+FFFD."""
        ids = tokens.tolist() if isinstance(tokens, np.ndarray) else map(int, tokens)
        return b"".join([self.tokens[t] for t in ids]).decode("utf-8", "replace")

    def str_tokens(self, tokens: Iterable[int | np.integer]) -> list[str]:
        """The text of each id alone, as TransformerLens's `to_str_tokens`; parts of characters become U+FFFD."""
        return [self.tokens[int(t)].decode("utf-8", "replace") for t in tokens]

    def word_at(self, tokens: Integer[np.ndarray, "pos"], position: int) -> Word:
        """The whole word that the token at `position` belongs to.

        A token that overlaps two words belongs to the later one; a token without letters is a word by itself.
        """
        if self.special[tokens[position]]:
            return self.bare_word(tokens[position], position)
        low, high = max(position - REACH, 0), min(position + REACH + 1, len(tokens))
        around = tokens[low:high]
        ids, last = around.tolist(), position - low
        if self.special[around].any():
            ends_words = self.special[around].tolist()
            after = next((i for i in range(last, len(ids)) if ends_words[i]), len(ids))
            before = next((i + 1 for i in range(last, -1, -1) if ends_words[i]), 0)
            ids, low, last = ids[before:after], low + before, last - before
        pieces = [self.tokens[i] for i in ids]
        text = b"".join(pieces).decode("utf-8", "surrogateescape")
        ends = list(accumulate(map(len, pieces)))
        begin, end = ends[last] - len(pieces[last]), ends[last]
        found, ascii_only = None, text.isascii()
        for match in WORD.finditer(text):
            first_byte, last_byte = match.span() if ascii_only else _byte_span(text, *match.span())
            if first_byte >= end:
                break
            if last_byte > begin:
                found = match, first_byte, last_byte
        if found is None:
            return self.bare_word(tokens[position], position)
        match, first_byte, last_byte = found
        first, stop = bisect_right(ends, first_byte), bisect_left(ends, last_byte) + 1
        spaced = first_byte > ends[first] - len(pieces[first]) and text[match.start() - 1] == " "
        return Word(match.group(), low + first, low + stop, spaced=spaced)

    def bare_word(self, token: int | np.integer, position: int) -> Word:
        """The word of a token that overlaps no word: its own stripped text, or the whole text of a special token."""
        own = self.tokens[int(token)].decode("utf-8", "replace")
        if self.special[token]:
            return Word(own, position, position + 1, spaced=False)
        return Word(own.strip() or own, position, position + 1, spaced=own[:1] == " " and bool(own.strip()))

    def row_words(self, tokens: Integer[np.ndarray, "pos"]) -> RowWords:
        """The words of a whole row, for many positions of one row; equal to `word_at` at each position."""
        return RowWords(self, tokens)

    def word_counts(self, rows: Iterable[Integer[np.ndarray, "_"]]) -> Counter[str]:
        """How often each word occurs in the rows, as it stands; tokens without letters by the text of `bare_word`."""
        counts: Counter[str] = Counter()
        bare = np.zeros(len(self.tokens), np.int64)
        for tokens in rows:
            plain = b"".join(b"\x00" if self.special[t] else self.tokens[int(t)] for t in tokens)
            counts.update(WORD.findall(plain.decode("utf-8", "replace")))
            np.add.at(bare, tokens, 1)
        for i in np.flatnonzero(bare).tolist():
            own = self.tokens[i].decode("utf-8", "replace")
            if not self.special[i] and "\ufffd" not in own and not WORD.search(own):
                counts[own.strip() or own] += int(bare[i])
        return counts


def folded(counts: Mapping[str, int]) -> Counter[str]:
    """The counts of case-folded words."""
    total: Counter[str] = Counter()
    for word, count in counts.items():
        total[word.casefold()] += count
    return total


class RowWords:
    """The word at every position of a row: equal to `Vocabulary.word_at`, found in one search of the row."""

    def __init__(self, vocabulary: Vocabulary, tokens: Integer[np.ndarray, "pos"]) -> None:
        """Find the words. A word that extends beyond the reach of `word_at` is found by `word_at` when asked for."""
        self.vocabulary, self.tokens = vocabulary, tokens
        pieces, widths = vocabulary.joinable
        data = b"".join(map(pieces.__getitem__, tokens.tolist()))
        self._text = text = data.decode("utf-8", "surrogateescape")
        spans = np.array([place for match in WORD.finditer(text) for place in match.span()], np.int64).reshape(-1, 2)
        byte_of = np.arange(len(text) + 1) if len(text) == len(data) else _byte_offsets(text)
        ends = np.cumsum(widths[tokens])
        begin, end = byte_of[spans].T
        first = np.searchsorted(ends, begin, side="right")
        stop = np.searchsorted(ends, end, side="left") + 1
        # The last word that begins before a token's end is the token's own if it ends after the token's start.
        last = np.searchsorted(begin, ends, side="left") - 1
        starts = ends - widths[tokens]
        touched = np.flatnonzero((last >= 0) & (np.append(end, 0)[last] > starts))
        word = last[touched]
        far = (first[word] < touched - REACH) | (stop[word] > touched + REACH + 1)
        number = np.full(len(tokens), _NONE)
        number[touched] = np.where(far, _FAR, word)
        self._number, self._spans = number.tolist(), spans.tolist()
        self._first, self._stop, self._inside = first, stop, begin > starts[first]

    def __len__(self) -> int:
        """Positions of the row."""
        return len(self._number)

    def __getitem__(self, position: int | np.integer) -> Word:
        """The word at a position, counted from 0."""
        number = self._number[position]
        if number >= 0:
            spaced = bool(self._inside[number]) and self._text[self._spans[number][0] - 1] == " "
            return Word(self.text(position), int(self._first[number]), int(self._stop[number]), spaced=spaced)
        if number == _FAR:
            return self.vocabulary.word_at(self.tokens, int(position))
        return self.vocabulary.bare_word(int(self.tokens[position]), int(position))

    def text(self, position: int | np.integer) -> str:
        """The text of the word at a position, counted from 0."""
        number = self._number[position]
        if number < 0:
            return self[position].text
        start, stop = self._spans[number]
        return self._text[start:stop]


_NONE, _FAR = -1, -2
"""Instead of a word's number: the token overlaps no word; the word extends beyond the reach of `word_at`."""


def _byte_span(text: str, start: int, stop: int) -> tuple[int, int]:
    """The byte range of these characters in the bytes that the text was decoded from."""
    first = len(text[:start].encode("utf-8", "surrogateescape"))
    return first, first + len(text[start:stop].encode("utf-8", "surrogateescape"))


def _byte_offsets(text: str) -> Int64[np.ndarray, "_"]:
    """The byte offset of each character in the bytes that the text was decoded from, then the length of all."""
    code = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    width = 1 + (code >= 0x80).astype(np.int64) + (code >= 0x800) + (code >= 0x10000)
    width[(code >= 0xDC80) & (code <= 0xDCFF)] = 1  # surrogateescape: a byte that belongs to no character
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(width)])
