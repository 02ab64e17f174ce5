"""Closed classes: the narrowest that covers the examples, and which of them are function words."""

from neurolocal.words.classes import GRAMMAR, LEXICAL, MEMBERS, closed_class


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
