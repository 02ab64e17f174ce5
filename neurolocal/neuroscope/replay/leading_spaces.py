"""Tokens that lost their leading space: some decoders drop it from a token that is decoded alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from neurolocal.words import Vocabulary

ENOUGH = 20
"""Words among the tokens below which nothing is concluded."""

USUAL = 0.1
"""Share of words with a leading space from which on a list of tokens has them."""


def lost_spaces(strings: Sequence[str], vocabulary: Vocabulary, name: str) -> str:
    """A sentence if only the store's tokens, or only the tokenizer's, have leading spaces; else nothing.

    Args:
        strings: the store's distinct tokens.
        vocabulary: the tokenizer's.
        name: of the subject.
    """
    theirs = _share(strings)
    ours = _share(vocabulary.str_tokens(range(len(vocabulary.tokens))))
    if theirs is None or ours is None:
        return ""
    if theirs >= USUAL and ours == 0:
        return f"No token of {name}'s tokenizer begins with a space, but {theirs:.0%} of the pages' words do. "
    if ours >= USUAL and theirs == 0:
        return f"No token of the pages begins with a space, but {ours:.0%} of the words of {name}'s tokenizer do. "
    return ""


def _share(strings: Iterable[str]) -> float | None:
    """Share of the words that begin with a space; None for too few words."""
    words = [s for s in strings if s.strip(" ").isalpha() and len(s.strip(" ")) > 1]
    return sum(s.startswith(" ") for s in words) / len(words) if len(words) >= ENOUGH else None
