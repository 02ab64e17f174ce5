"""Descriptions that need no LLM: one word, a closed class, punctuation, a rule of spelling, or the commonest words.

Invariant: pure functions of counts; each statement is true of at least `SHARE` of the explaining examples (or of the
distinct words). Cost: one pass over the distinct words for each class.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

from neurolocal.summary.peaks import PeakWords
from neurolocal.words.classes import FUNCTION, GRAMMAR, closed_class

SHARE = 0.8
"""Share of the examples (or of the distinct words) that a template must cover."""

TOP = 3
"""Words in a title where no name was found."""

LETTERS = re.compile(r"[^\W\d_]")

SUFFIXES = ("ly", "ed", "er", "al", "ic", "es", "en")
"""Endings of two letters that are worth naming; every longer ending is."""

NAMES = {
    ",": "commas",
    ".": "full stops",
    ":": "colons",
    ";": "semicolons",
    "?": "question marks",
    "!": "exclamation marks",
    "-": "hyphens",
    "–": "dashes",
    "—": "dashes",
    "'": "apostrophes",
    "’": "apostrophes",
    '"': "quotation marks",
    "“": "quotation marks",
    "”": "quotation marks",
    "(": "opening brackets",
    ")": "closing brackets",
    "/": "slashes",
    "=": "equals signs",
    "_": "underscores",
    "*": "asterisks",
    "#": "hash signs",
    "$": "dollar signs",
    "%": "percent signs",
}


def top_words(words: Counter[str]) -> str:
    """The commonest words, where no name was found: `top words "poly", "P", "S"`."""
    if not words:
        return "no examples"
    listed = ", ".join(quote(w) for w, _ in words.most_common(TOP))
    return f"top word{'s' if len(words) > 1 else ''} {listed}"


def certain(peaks: PeakWords) -> str | None:
    """A description that the counts prove: one word, two words, one token in many words, a closed class, no letters."""
    commonest = peaks.words.most_common(2)
    if not commonest:
        return None
    if LETTERS.search(commonest[0][0]) is None and _share(peaks, lambda w: LETTERS.search(w) is None) >= SHARE:
        return _no_letters(peaks)
    if commonest[0][1] >= SHARE * peaks.n and not peaks.held:
        return f"the word {quote(commonest[0][0])}"
    if name := _closed_class(peaks):
        return name
    token, times = peaks.str_tokens.most_common(1)[0]
    if times >= SHARE * peaks.n and LETTERS.search(token) and len(peaks.words) > 2:
        return f"the letters {quote(token.strip())} within words"
    if len(peaks.words) == 2 and peaks.n > 2 and not peaks.held:
        return f"the words {quote(commonest[0][0])} and {quote(commonest[1][0])}"
    return None


def spelling(words: Sequence[str]) -> str | None:
    """A rule of spelling that `SHARE` of at least four distinct words follow: capitals, an ending, a beginning."""
    words = [w for w in words if LETTERS.search(w)]
    if len(words) < 4:
        return None
    if sum(len(w) > 1 and w.isupper() for w in words) >= SHARE * len(words):
        return "words in capital letters"
    low = [w.casefold() for w in words]
    if (end := _shared([w[::-1] for w in low])[::-1]) and (len(end) > 2 or end in SUFFIXES):
        return f"words ending in {quote('-' + end)}"
    begin = _shared(low)
    return f"words beginning with {quote(begin + '-')}" if len(begin) > 1 else None


def quote(word: str) -> str:
    """A word in quotation marks, with line breaks and other invisible characters escaped."""
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in word) + '"'


def _shared(words: Sequence[str]) -> str:
    """The longest beginning that `SHARE` of the words have, shorter than each of them by at least one letter."""
    needed, ordered, best = math.ceil(SHARE * len(words)), sorted(words), ""
    for first, last in zip(ordered, ordered[needed - 1 :], strict=False):
        # The words are sorted: a beginning that these two share is shared by all words between them.
        n = 0
        while n < min(len(first), len(last)) - 1 and first[n] == last[n]:
            n += 1
        best = max(best, first[:n], key=len)
    return best


def _share(peaks: PeakWords, test: Callable[[str], bool]) -> float:
    return sum(c for w, c in peaks.words.items() if test(w)) / max(peaks.n, 1)


def _closed_class(peaks: PeakWords) -> str | None:
    """The class of nearly all words, or that of the function words among them, where these are half or more."""
    words, name = peaks.distinct, closed_class(peaks.words, SHARE)
    if name is None and (mostly := closed_class(peaks.words, FUNCTION, GRAMMAR)):
        name, words = f"mostly {mostly}", [w for w in words if w.casefold() in GRAMMAR[mostly]]
    return None if name is None else f"{name} ({', '.join(quote(w) for w in words[:3])})"


def _no_letters(peaks: PeakWords) -> str:
    words, kinds = peaks.distinct, [_kind(w) for w in peaks.distinct]
    if len(words) == 1 or peaks.words[words[0]] >= SHARE * peaks.n:
        name = kinds[0] if words[0] in NAMES or not words[0].strip() else f"the {kinds[0].removesuffix('s')}"
        return f"{name} {quote(words[0])}"
    listed = ", ".join(quote(w) for w in words[:3])
    if all(re.fullmatch(r"1\d{3}|20\d\d", w) for w in words):
        return f"years ({listed})"
    for kind in ("numbers", "line breaks", "spaces"):
        if all(k == kind for k in kinds):
            return f"{kind} ({listed})"
    if "numbers" in kinds:
        return f"numbers and symbols ({listed})"
    return f"{'punctuation marks' if any(w in NAMES for w in words) else 'symbols'} ({listed})"


def _kind(word: str) -> str:
    if not word.strip():
        return "line breaks" if "\n" in word else "spaces"
    if any(c.isdigit() for c in word):
        return "numbers"
    return NAMES.get(word, "symbols")
