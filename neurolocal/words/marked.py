"""Tokens as one line of text, with one word marked: `the <<poly>> of`.

Invariant: control tokens are left out; white space is collapsed. Cost: O(tokens).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Integer

from neurolocal.words.vocabulary import Vocabulary

BEFORE, AFTER = 20, 5
"""Tokens shown before and after a marked word."""


def one_line(vocabulary: Vocabulary, tokens: Iterable[int] | Integer[np.ndarray, "_"]) -> str:
    """The tokens as one line of text, without control tokens."""
    return " ".join(vocabulary.text(t for t in tokens if not vocabulary.special[t]).split())


def marked(
    tokens: Integer[np.ndarray, "pos"], start: int, end: int, low: int, high: int, vocabulary: Vocabulary
) -> str:
    """The tokens of `[low, high)` as one line, with the word at `[start, end)` in `<< >>`."""

    def plain(a: int, b: int) -> str:
        return vocabulary.text(t for t in tokens[a:b] if not vocabulary.special[t])

    word = plain(start, end)
    inside = word.strip() or word
    before, after = plain(low, start) + word[: len(word) - len(word.lstrip())], plain(end, high)
    return " ".join(f"{before}<<{inside}>>{after}".split())
