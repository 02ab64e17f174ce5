"""Token ids -> text: token strings, and the whole word that a token belongs to.

Invariant: needs no tokenizer, only the bytes of each token id (kept in the store), so that every stage and every reader
sees the same words. Bytes of one token may be part of a character; text is decoded over the joined bytes.
Cost: `word_at` looks at `REACH` tokens on each side, some 15 us.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
"""A run of letters of any script, apostrophes inside it."""

REACH = 16
"""Tokens looked at on each side of a peak for the rest of its word."""


@dataclass(frozen=True)
class Word:
    """The whole word around a token: what it says, and which tokens spell it."""

    text: str
    """The word as it stands in the text, without spaces; a token without letters is its own stripped text."""
    start: int
    """First token position of the word."""
    end: int
    """One past its last token position."""
    spaced: bool
    """True where a space stands directly before the word inside its first token."""


@dataclass(frozen=True)
class Vocabulary:
    """The bytes that each token id stands for."""

    tokens: Sequence[bytes]
    """One entry a token id, UTF-8 or a part of a character."""
    special: Bool[np.ndarray, "d_vocab"]
    """Control tokens such as BOS and EOS: they end words and are no text."""

    def text(self, tokens: Iterable[int | np.integer]) -> str:
        """The text of the ids; broken characters become U+FFFD."""
        return b"".join(self.tokens[int(t)] for t in tokens).decode("utf-8", "replace")

    def str_tokens(self, tokens: Iterable[int | np.integer]) -> list[str]:
        """The text of each id by itself, TransformerLens's `to_str_tokens`; parts of characters become U+FFFD."""
        return [self.tokens[int(t)].decode("utf-8", "replace") for t in tokens]

    def word_at(self, tokens: Integer[np.ndarray, "pos"], position: int) -> Word:
        """The whole word that the token at `position` belongs to.

        A token that touches two words counts to the later one; one without letters is a word of its own.
        """
        if self.special[tokens[position]]:
            return Word(self.text([tokens[position]]), position, position + 1, spaced=False)
        low, high = position, position + 1
        while low > 0 and position - low < REACH and not self.special[tokens[low - 1]]:
            low -= 1
        while high < len(tokens) and high - position <= REACH and not self.special[tokens[high]]:
            high += 1
        pieces = [self.tokens[int(t)] for t in tokens[low:high]]
        ends = np.cumsum([len(p) for p in pieces])
        text = b"".join(pieces).decode("utf-8", "surrogateescape")
        chars = np.cumsum([0, *(len(c.encode("utf-8", "surrogateescape")) for c in text)])
        last = position - low
        begin, end = (int(ends[last - 1]) if last else 0), int(ends[last])
        found = None
        for match in WORD.finditer(text):
            if chars[match.start()] < end and chars[match.end()] > begin:
                found = match
        if found is None:
            own = pieces[last].decode("utf-8", "replace")
            return Word(own.strip() or own, position, position + 1, spaced=own[:1] == " " and bool(own.strip()))
        first_byte, last_byte = int(chars[found.start()]), int(chars[found.end()])
        first = int(np.searchsorted(ends, first_byte, side="right"))
        stop = int(np.searchsorted(ends, last_byte, side="left")) + 1
        token_begin = int(ends[first - 1]) if first else 0
        spaced = first_byte > token_begin and text[found.start() - 1] == " "
        return Word(found.group(), low + first, low + stop, spaced=spaced)

    def word_counts(self, rows: Iterable[Integer[np.ndarray, "_"]]) -> Counter[str]:
        """How often each case-folded word occurs in the rows; tokens without letters count as `word_at` names them."""
        counts: Counter[str] = Counter()
        bare = np.zeros(len(self.tokens), np.int64)
        for tokens in rows:
            plain = b"".join(b"\x00" if self.special[t] else self.tokens[int(t)] for t in tokens)
            counts.update(w.casefold() for w in WORD.findall(plain.decode("utf-8", "replace")))
            np.add.at(bare, tokens, 1)
        for i in np.flatnonzero(bare).tolist():
            own = self.tokens[i].decode("utf-8", "replace")
            if not self.special[i] and "\ufffd" not in own and not WORD.search(own):
                counts[(own.strip() or own).casefold()] += int(bare[i])
        return counts
