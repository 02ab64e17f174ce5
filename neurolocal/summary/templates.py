"""Descriptions that need no LLM: one word, a closed class, punctuation, a rule of spelling, or the counts themselves.

Invariant: pure functions of counts; each statement is true of at least `SHARE` of the explaining examples (or of the
distinct words). Cost: one pass over the distinct words for each class.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

from neurolocal.summary.peaks import PeakWords

SHARE = 0.8
"""Share of the examples (or of the distinct words) that a template must cover."""

LETTERS = re.compile(r"[^\W\d_]")

# Closed classes of English: they have so few words that a list is better than a question. A word may be in several.
CLASSES = {
    "pronouns": "i you he she it we they me him her us them myself himself herself itself themselves who whom one",
    "possessive pronouns": "my your his her its our their mine yours hers ours theirs whose",
    "prepositions": "of in to for with on at by from into onto upon under over between among through during against "
    "within without toward towards across behind beside beyond near off about above below after "
    "before until since along around beneath against upon throughout amid past",
    "conjunctions": "and or but nor so yet because although though unless while whereas if whether since as",
    "articles and determiners": "the a an this that these those some any each every all both such",
    "auxiliary verbs": "is are was were be been being am has have had do does did will would shall should can could "
    "may might must ought cannot",
    "negation": "not no never none nothing nobody nowhere neither nor without cannot can't don't won't didn't "
    "isn't wasn't doesn't couldn't wouldn't shouldn't aren't weren't hasn't haven't hadn't n't",
    "question words": "who what when where why how which whom whose whether whatever whenever wherever whoever",
    "number words": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety "
    "hundred thousand million billion",
    "ordinal numbers": "first second third fourth fifth sixth seventh eighth ninth tenth last",
}
MEMBERS = {name: frozenset(words.split()) for name, words in CLASSES.items()}
MEMBERS["personal and possessive pronouns"] = MEMBERS["pronouns"] | MEMBERS["possessive pronouns"]
MEMBERS["function words"] = frozenset().union(*MEMBERS.values())  # last, so that narrower classes come first

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


def counts(words: Counter[str], n: int, *, most: int = 5) -> str:
    """The counts themselves, used where nothing better is known: `"poly" (12 of 20), "P" (5)`."""
    if not words:
        return "no examples"
    shown = [f"{quote(w)} ({c})" for w, c in words.most_common(most)]
    shown[0] = f"{shown[0][:-1]} of {n})"
    return ", ".join(shown) + (", …" if len(words) > most else "")


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
    distinct = peaks.distinct
    if len(distinct) < 3:
        return None
    best, cover = "", 0.0
    for name, members in MEMBERS.items():
        share = sum(c for w, c in peaks.words.items() if w.casefold() in members) / peaks.n
        kinds = sum(w.casefold() in members for w in distinct)
        if kinds >= 3 and share > cover:
            best, cover = name, share
    return f"{best} ({', '.join(quote(w) for w in distinct[:3])})" if cover >= SHARE else None


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
