"""The closed classes of English words: so few words that a list is better than a question.

Invariant: a word may be in several classes. Cost: one pass over the distinct words for each class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CLASSES = {
    "pronouns": "i you he she it we they me him her us them myself himself herself itself ourselves yourselves "
    "themselves thou thee ye who whom one",
    "indefinite pronouns": "someone somebody something anyone anybody anything everyone everybody everything nobody "
    "nothing none one",
    "possessive pronouns": "my your his her its our their mine yours hers ours theirs whose thy own",
    "prepositions": "of in to for with on at by from into onto upon under over between among through during against "
    "within without toward towards across behind beside beyond near off about above below after "
    "before until till since along around beneath throughout amid past than via per except despite besides "
    "inside outside underneath alongside amongst up down out",
    "conjunctions": "and or but nor so yet because although though unless while whereas if whether since as "
    "than that lest until till",
    "articles and determiners": "the a an this that these those some any each every all both such many few several "
    "much no another other own same either neither enough",
    "quantifiers": "all both each every some any no none many much few several more most less "
    "least fewer enough plenty",
    "auxiliary verbs": "is are was were be been being am has have had do does did will would shall should can could "
    "may might must ought cannot having doing done",
    "negation": "not no never none nothing nobody nowhere neither nor without cannot can't don't won't didn't "
    "isn't wasn't doesn't couldn't wouldn't shouldn't aren't weren't hasn't haven't hadn't n't",
    "question words": "who what when where why how which whom whose whether whatever whenever wherever whoever",
    "adverbs of degree": "very quite rather too so more most less least much almost nearly extremely fairly highly "
    "enough even only just hardly scarcely barely somewhat slightly exceedingly",
    "linking adverbs": "therefore however thus hence moreover furthermore nevertheless nonetheless otherwise instead "
    "meanwhile consequently accordingly",
    "number words": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety "
    "hundred thousand million billion",
    "ordinal numbers": "first second third fourth fifth sixth seventh eighth ninth tenth last",
}
"""Class -> its words, case-folded."""

LEXICAL = ("number words", "ordinal numbers")
"""Closed classes whose words have a meaning of their own; the words of the others are function words."""

TOGETHER = {
    "personal and possessive pronouns": ("pronouns", "possessive pronouns"),
    "determiners": ("articles and determiners", "quantifiers", "possessive pronouns"),
    "auxiliary verbs and negation": ("auxiliary verbs", "negation"),
    "prepositions and conjunctions": ("prepositions", "conjunctions"),
}
"""Classes that a person would name by one name, where a list has words of several of them."""

LEAST = 3
"""Fewest distinct words of a class."""

FUNCTION = 0.5
"""Share of the examples on function words from which a list of words is no concept."""


def _members(names: Iterable[str]) -> dict[str, frozenset[str]]:
    """The words of some classes, of those that go together, and of all of them, which come last."""
    found = {name: frozenset(CLASSES[name].split()) for name in names}
    found |= {name: frozenset().union(*(found[one] for one in parts)) for name, parts in TOGETHER.items()}
    return found | {"function words": frozenset().union(*found.values())}


MEMBERS = _members(CLASSES)
"""Class -> its words. Of two that cover the same examples the first is the narrower one."""

GRAMMAR = _members(name for name in CLASSES if name not in LEXICAL)
"""The same of function words alone."""


ONE_CLASS = {name: words for name, words in GRAMMAR.items() if name != "function words"}
"""The same, each by itself."""


def closed_class(
    words: Mapping[str, int], share: float, classes: Mapping[str, frozenset[str]] = MEMBERS
) -> str | None:  # fmt: skip
    """The class that covers most of the examples, and at least that share of them; the narrowest where several do.

    Args:
        words: number of examples by word.
        share: of the examples.
        classes: among which.
    """
    total, best, cover = sum(words.values()), None, 0.0
    for name, members in classes.items():
        found = {word.casefold() for word in words} & members
        covered = sum(n for word, n in words.items() if word.casefold() in found) / max(total, 1)
        if len(found) >= LEAST and covered > cover:
            best, cover = name, covered
    return best if cover >= share else None
