"""Closed classes: the narrowest that covers the examples, and which of them are function words."""

from neurolocal.words.classes import (
    CLASSES,
    GRAMMAR,
    LEAST,
    LEXICAL,
    MEMBERS,
    ONE_CLASS,
    TOGETHER,
    closed_class,
)


def test_the_narrowest_class_that_covers_most_examples() -> None:
    assert closed_class({"He": 5, "she": 3, "they": 1, "table": 1}, 0.8) == "pronouns"
    assert closed_class({"He": 5, "her": 3, "my": 2}, 0.8) == "personal and possessive pronouns"
    assert closed_class({"he": 5, "under": 3, "was": 2}, 0.8) == "function words"
    assert closed_class({"he": 5, "she": 3, "table": 4}, 0.8) is None
    assert closed_class({"he": 5, "she": 3}, 0.8) is None, "two words are no class"
    assert closed_class({}, 0.8) is None


def test_number_words_are_no_function_words() -> None:
    for name in LEXICAL:
        words = dict.fromkeys(sorted(MEMBERS[name])[:5], 1)
        assert closed_class(words, 0.8) == name
        assert closed_class(words, 0.8, GRAMMAR) is None
    assert closed_class({"one": 3, "who": 3, "whom": 3}, 0.8, GRAMMAR) == "pronouns"


def test_classes_that_go_together_have_one_name_where_no_narrower_class_covers_as_much() -> None:
    for name, parts in TOGETHER.items():
        assert frozenset().union(*(MEMBERS[part] for part in parts)) == MEMBERS[name]
        words = {word: 1 for part in parts for word in sorted(MEMBERS[part])}
        assert closed_class(words, 0.8, ONE_CLASS) == name
    assert closed_class({"a": 3, "the": 3, "my": 2, "most": 2}, 0.8) == "determiners"
    assert closed_class({"was": 3, "not": 3, "never": 2, "did": 2}, 0.8) == "auxiliary verbs and negation"
    assert closed_class({"very": 5, "quite": 3, "too": 2}, 0.8) == "adverbs of degree"
    assert closed_class({"not": 5, "never": 3, "nor": 2}, 0.8) == "negation"
    assert closed_class({"was": 4, "my": 3, "of": 3}, 0.8, ONE_CLASS) is None


def test_every_class_is_lower_case_without_repeats() -> None:
    for name, text in CLASSES.items():
        assert len(text.split()) == len(MEMBERS[name]) >= LEAST, name
        assert text == text.casefold()
