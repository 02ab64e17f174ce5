"""Which words are spellings of one word, and how a word takes another's capitals.

Invariant: symmetric and blind to case and accents. A substitute that is a variant of the original says nothing about
meaning, and neighbours by vectors are mostly that; so the rule rather drops a true neighbour than keeps a variant.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

ENDINGS = (
    *("ations", "ation", "tions", "ments", "tion", "ment", "ness", "able", "ible", "ally", "less"),
    *("ings", "iest", "ing", "ies", "ied", "ier", "est", "ers", "ful", "n't", "n’t"),
    *("al", "ed", "er", "es", "ly", "rs", "'s", "’s", "d", "r", "s", "y"),
)
"""English endings, longest first; one is taken off."""

STEM = 3
"""Letters that a stem keeps at least."""

SHARE = 0.75
"""Two words whose common beginning is at least this share of the shorter stem (and 4 letters) are of one stem."""


def is_variant(word: str, other: str) -> bool:
    """Whether two words are spellings of one: equal but for case, plural, one inside the other, of a shared stem."""
    a, b = _plain(word), _plain(other)
    if a == b:
        return True
    short, long = sorted((a, b), key=len)
    if len(short) >= STEM and short in long:
        return True
    stems = _stem(a), _stem(b)
    if stems[0] == stems[1]:
        return True
    common = next((i for i, (x, y) in enumerate(zip(short, long, strict=False)) if x != y), len(short))
    return common >= 4 and common >= SHARE * min(map(len, stems))


def like(word: str, model: str) -> str:
    """The word with the model's capitals: lower, Capitalised or ALL CAPS (of two letters or more)."""
    if len(model) > 1 and model.isupper():
        return word.upper()
    lower = word.lower()
    return lower[:1].upper() + lower[1:] if model[:1].isupper() else lower


@lru_cache(maxsize=1 << 17)
def _plain(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word.casefold())
    return "".join(c for c in letters if not unicodedata.combining(c))


@lru_cache(maxsize=1 << 17)
def _stem(word: str) -> str:
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= STEM:
            word = word[: -len(ending)]
            break
    # A doubled consonant before an ending (running, runner) is one in the stem; so is a last e that an ending took.
    if len(word) > STEM and word[-1] == word[-2]:
        word = word[:-1]
    return word.removesuffix("e")


def other_forms(word: str) -> list[str]:
    """The word in other capitals, the most telling first: without its capitals, or with a first one; then all."""
    lower = word.lower()
    capital = lower[:1].upper() + lower[1:]
    first = [capital, word.upper()] if word == lower else [lower, capital, word.upper()]
    return [w for w in dict.fromkeys(first) if w != word]
