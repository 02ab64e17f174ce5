"""The closed classes of English words: so few words that a list is better than a question.

Invariant: a word may be in several classes. Cost: one pass over the distinct words for each class.
"""

from __future__ import annotations

from collections.abc import Mapping

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
"""Class -> its words, case-folded."""

LEXICAL = ("number words", "ordinal numbers")
"""Closed classes whose words have a meaning of their own; the words of the others are function words."""

FUNCTION_WORDS = "function words"

MEMBERS = {name: frozenset(words.split()) for name, words in CLASSES.items()}
MEMBERS["personal and possessive pronouns"] = MEMBERS["pronouns"] | MEMBERS["possessive pronouns"]
MEMBERS[FUNCTION_WORDS] = frozenset().union(*MEMBERS.values())  # last, so that narrower classes come first

LEAST = 3
"""Fewest distinct words of a class."""


def closed_class(words: Mapping[str, int], share: float, *, function: bool = False) -> str | None:
    """The class that covers most of the examples, and at least that share of them; the narrowest where several do.

    Args:
        words: number of examples by word.
        share: of the examples.
        function: whether only classes of function words count.
    """
    total, best, cover = sum(words.values()), None, 0.0
    for name, members in MEMBERS.items():
        if function and name in LEXICAL:
            continue
        own = members - _LEXICAL_ONLY if function and name == FUNCTION_WORDS else members
        found = {w.casefold() for w in words} & own
        covered = sum(n for w, n in words.items() if w.casefold() in found) / max(total, 1)
        if len(found) >= LEAST and covered > cover:
            best, cover = name, covered
    return best if cover >= share else None


_LEXICAL_ONLY = frozenset().union(*(MEMBERS[name] for name in LEXICAL)) - frozenset().union(
    *(members for name, members in MEMBERS.items() if name not in (*LEXICAL, FUNCTION_WORDS))
)
"""Words of `LEXICAL` classes alone."""
