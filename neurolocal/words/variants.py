"""Spelling variants: whether two words are spellings of one word; a word in another word's capitals.

Invariant: `is_variant` is symmetric and ignores case and accents. A substitute that is a variant of the original is no
evidence about meaning, and most nearest neighbours by word vectors are variants. So the rule is strict: it drops some
true neighbours rather than keep a variant. Cost: O(letters) a pair; plain forms and stems are cached.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

ENDINGS = (
    *("ations", "ation", "tions", "ments", "tion", "ment", "ness", "able", "ible", "ally", "less"),
    *("ings", "iest", "ing", "ies", "ied", "ier", "est", "ers", "ful", "n't", "n’t"),
    *("al", "ed", "er", "es", "ly", "rs", "'s", "’s", "d", "r", "s", "y"),
)
"""English endings, longest first; at most one is removed."""

STEM = 3
"""Fewest letters of a stem."""

SHARE = 0.75
"""Two words are variants if their common prefix has 4 letters or more and this share of the shorter stem."""


def is_variant(word: str, other: str) -> bool:
    """Whether two words are spelling variants: equal up to case and accents, one inside the other, or of one stem."""
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
    """The word in the capitals of `model`: lower, Capitalised or ALL CAPS (of two letters or more)."""
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
    # running, runner -> run: a doubled last letter becomes one; and a final e is removed, since endings replace it.
    if len(word) > STEM and word[-1] == word[-2]:
        word = word[:-1]
    return word.removesuffix("e")


def other_forms(word: str) -> list[str]:
    """The word in other capitals: of a lower-case word Capitalised and ALL CAPS, of others lower case first."""
    lower = word.lower()
    capital = lower[:1].upper() + lower[1:]
    first = [capital, word.upper()] if word == lower else [lower, capital, word.upper()]
    return [w for w in dict.fromkeys(first) if w != word]
