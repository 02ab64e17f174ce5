"""Each rule of the verdict by itself: what it needs, and which rule comes before it."""

import numpy as np
import pytest
from verdict_layers import CONFIG, DAYS, one, perturbation, similarity

from neurolocal.records import VERDICTS
from neurolocal.verdict.evidence import Evidence
from neurolocal.verdict.rules import RULES, decide


def test_rules_decide_on_every_verdict_and_the_first_that_applies_wins():
    assert {rule.verdict for rule in RULES} | {"untested"} == set(VERDICTS)
    evidence = Evidence(DAYS, 100, 100, 3.0, z=9.0, coherence_q=0.001, known=8)
    applying = [rule for rule in RULES if rule.applies(evidence, CONFIG)]
    assert decide(evidence, CONFIG) == (applying[0].verdict, applying[0].reason(evidence, CONFIG))


def test_a_dead_neuron_is_dead_whatever_its_other_figures():
    name, reason, score = one(DAYS, similarity([9], [0]), perturbation([1], [0], [0]), maximum=3e-9)
    assert (name, score) == ("dead", 0.0)
    assert reason == "largest |activation| 3e-09 over 1,000 positions, under 1e-06"


def test_a_negative_neuron_is_not_dead():
    assert one(DAYS, maximum=0.0, minimum=[-2.0])[0] == "untested"


def test_nothing_counted_is_dead_and_nothing_finite_is_unclear():
    assert one({}, maximum=-np.inf, minimum=[np.inf], count=0)[:2] == ("dead", "no position was counted")
    name, reason, _ = one({}, maximum=-np.inf, minimum=[np.inf], nonfinite=[1000])
    assert (name, reason) == ("unclear", "activation NaN or infinite at all 1,000 positions")


def test_one_word_in_its_spellings_is_a_token():
    name, reason, _ = one({"poly": 12, "Poly": 4, "POLY": 2, "P": 2}, similarity([9], [0.001]))
    assert name == "token"
    assert reason == "“poly” in 18 of 20 examples, in 3 spellings"


def test_just_under_the_share_is_no_token():
    assert one({"poly": 16, "P": 4})[0] == "token"
    assert one({"poly": 15, "P": 5})[0] != "token"


def test_a_word_whose_near_words_hold_is_more_than_a_token():
    words, coherent = {"said": 17, "asked": 2, "cried": 1}, similarity([9], [0.001])
    assert one(words, coherent, perturbation([0.3], [0.0], [0.001]))[0] == "concept"
    assert one(words, coherent, perturbation([0.05], [0.0], [0.001]))[0] == "token"
    assert one(words, coherent, perturbation([0.3], [0.0], [0.2]))[0] == "token"


def test_a_word_that_fires_in_its_context_alone_is_context():
    here = perturbation([0.0], [0.0], [1.0], elsewhere_half=[0.2])
    name, reason, _ = one({"been": 20}, None, here)
    assert name == "context"
    assert reason.startswith("“been” in 20 of 20 examples, but not by itself, held in 20 % of other contexts")
    there = perturbation([0.0], [0.0], [1.0], elsewhere_half=[0.25])
    name, reason, _ = one({"been": 20}, None, there)
    assert (name, reason[-34:]) == ("token", "(q = 1), held in 25 % of other contexts"[-34:])
    coherent = similarity([9.1], [0.001])
    assert one(DAYS, coherent, perturbation([0.0], [0.0], [1.0], elsewhere_half=[0.1]))[0] == "context"
    assert one(DAYS, coherent, perturbation([0.0], [0.0], [1.0], elsewhere_half=[0.9]))[0] == "concept"
    # In their place near words do it and random ones do not: a concept, though it needs its context.
    assert one(DAYS, coherent, perturbation([0.7], [0.0], [0.001], elsewhere_half=[0.1]))[0] == "concept"


def test_where_random_words_keep_half_any_word_will_do():
    name, reason, _ = one({"the": 20}, None, perturbation([0.9], [0.8], [0.2]))
    assert name == "context"
    assert reason == "any word will do: neighbours hold 90 %, controls 80 %, 1 distinct word"
    assert one({"the": 20}, None, perturbation([np.nan], [0.5], [np.nan]))[0] == "context"
    assert one(DAYS, similarity([9.1], [0.001]), perturbation([0.9], [0.5], [0.001]))[0] == "context"


def test_where_the_positions_around_hold_too_it_is_a_passage():
    """As every neuron of an untrained model: neither context nor anything else."""
    anything = perturbation([0.9], [0.8], [0.2], elsewhere_half=[0.0])
    name, reason, _ = one({"the": 20}, None, anything, around=[0.25])
    assert name == "unclear"
    assert reason == (
        "a passage excites it, and no word or place in it: controls hold 80 %, the positions around the peaks 25 %, "
        "1 distinct word"
    )
    assert one({"the": 20}, None, anything, around=[0.24])[0] == "context"
    assert one({"the": 20}, None, anything, around=[np.nan])[0] == "context"
    assert one(DAYS, similarity([9.1], [0.001]), anything, around=[0.9])[0] == "unclear"
    word = perturbation([0.2], [0.1], [0.9], elsewhere_half=[0.0])  # not by itself, but not at its place alone either
    assert one({"been": 11, "is": 9}, None, word, around=[0.3])[0] == "unclear"
    assert one({"been": 11, "is": 9}, None, word, around=[0.2])[0] == "context"


VERBS = dict.fromkeys(["running", "seeing", "going", "asking", "telling"], 4)
ING = {"form": ["end ing"], "form_share": [1.0], "form_q": [1e-6]}


def test_a_shared_spelling_is_form_unless_its_words_cohere():
    assert one(VERBS, similarity([0.3], [0.8], **ING))[:2] == (
        "form",
        "5 distinct words, 100 % of them “end ing” (q = 1e-06), coherence z = 0.3 (q = 0.8)",
    )
    assert one(VERBS, similarity([9.1], [0.001], **ING))[0] == "concept"
    assert one(VERBS, similarity([0.3], [0.8], **(ING | {"form_q": [0.06]})))[0] == "untested"
    assert one(VERBS, similarity([0.3], [0.8], **(ING | {"form_share": [0.69]})))[0] == "untested"
    assert one(VERBS)[0] == "untested"


@pytest.mark.parametrize(
    ("coherent", "half", "control", "spelled", "expected"),
    [
        (True, 0.1, 0.0, 0.4, "form"),  # others so spelled do it, near words less
        (True, 0.4, 0.0, 0.4, "concept"),  # near words do it as well
        (True, 0.2, 0.0, 0.05, "concept"),  # the spelling does nothing
        (True, 0.0, 0.2, 0.4, "concept"),  # no more than twice the random words: the coherent words are a closed list
        (False, 0.0, 0.0, 0.05, "form"),
        (False, 0.1, 0.0, 0.05, "unclear"),
    ],
)
def test_a_shared_spelling_must_be_what_the_activation_follows(coherent, half, control, spelled, expected):
    sim = similarity([9.1], [0.001], **ING) if coherent else similarity([0.1], [0.8], **ING)
    assert one(VERBS, sim, perturbation([half], [control], [0.001], spelled_half=[spelled]))[0] == expected


@pytest.mark.parametrize(
    ("coherent", "other_capitals", "expected"), [(False, 0.1, "form"), (False, 0.6, "unclear"), (True, 0.1, "concept")]
)
def test_capitals_are_a_form_where_others_do_not_do(coherent, other_capitals, expected):
    capitals = {"form": ["capital all"], "form_share": [1.0], "form_q": [1e-6]}
    sim = similarity([9.1], [0.001], **capitals) if coherent else similarity([0.1], [0.8], **capitals)
    tested = perturbation([0.4], [0.3], [0.001], spelled_half=[0.5], form_half=[other_capitals])
    assert one(dict.fromkeys(["NASA", "USA", "GPU"], 6), sim, tested)[0] == expected


def test_punctuation_is_form_even_where_its_vectors_cohere():
    assert one({",": 9, ";": 8, ":": 3}, similarity([9.1], [0.001]))[0] == "form"


def test_a_concept_needs_coherence_and_near_words_that_hold():
    name, reason, score = one(DAYS, similarity([9.1], [0.001]), perturbation([0.71], [0.08], [0.004]))
    assert name == "concept"
    assert reason == ("8 distinct words, coherence z = 9.1 (q = 0.001), neighbours hold 71 %, controls 8 % (q = 0.004)")
    assert score == pytest.approx((1 + 9.1 / 13.1 * 1.63 / 2) / 2)


def test_a_concept_of_function_words_is_grammar():
    coherent, held = similarity([9.1], [0.001]), perturbation([0.71], [0.08], [0.004])
    words = {"under": 4, "over": 4, "Between": 6, "beside": 2, "table": 4}
    name, reason, score = one(words, coherent, held)
    assert (name, score < 0.5) == ("grammar", True)
    assert reason.startswith("prepositions: 5 distinct words, coherence z = 9.1")
    assert one(words | {"chair": 12}, coherent, held)[0] == "grammar"
    assert one(words | {"chair": 13}, coherent, held)[0] == "concept"
    assert one(words, coherent)[0] == "grammar"
    assert one({"two": 5, "three": 5, "seven": 5, "first": 5}, coherent, held)[0] == "concept"
    assert one({"under": 17, "over": 3}, coherent, held)[0] == "concept"


def test_one_closed_class_is_grammar_without_coherence():
    silent, words = perturbation([0.0], [0.0], [1.0]), {"whose": 10, "Whom": 5, "which": 4, "iron": 1}
    name, reason, score = one(words, similarity([-0.1], [0.7]), silent)
    assert (name, score < 0.5) == ("grammar", True)
    assert reason.startswith("question words: 4 distinct words, coherence z = -0.1")
    assert one(words | {"iron": 4}, similarity([-0.1], [0.7]), silent)[0] == "grammar"
    assert one(words | {"iron": 5}, similarity([-0.1], [0.7]), silent)[0] == "unclear"
    assert one({"of": 5, "he": 5, "is": 5, "not": 5}, similarity([-0.1], [0.7]), silent)[0] == "unclear", "of any class"
    assert one(words, similarity([-0.1], [0.7]), perturbation([0.9], [0.8], [1.0]))[0] == "context"
    assert one(words, similarity([-0.1], [0.7]), perturbation([0.0], [0.0], [1.0], neuron=[7]))[0] == "untested"
    assert one(words, similarity([-0.1], [0.7]))[0] == "grammar"
    form = {"form": ["begin wh"], "form_share": [0.9], "form_q": [0.001]}
    assert one(words, similarity([-0.1], [0.7], **form), silent)[0] == "grammar"


def test_strong_coherence_without_near_words_is_a_closed_list():
    silent = perturbation([0.0], [0.0], [1.0])
    name, reason, _ = one(DAYS, similarity([3.5], [0.001]), silent)
    assert name == "concept"
    assert reason.endswith(": a closed list")
    assert one(DAYS, similarity([3.4], [0.001]), silent)[0] == "unclear"


def test_a_list_with_more_words_than_half_of_the_examples_needs_stronger_coherence():
    silent = perturbation([0.0], [0.0], [1.0])
    words = DAYS | {"night": 1}  # 9 words in 17 examples
    assert one(words, similarity([5.9], [0.001]), silent)[0] == "unclear"
    name, reason, _ = one(words, similarity([6.0], [0.001]), silent)
    assert name == "concept"
    assert reason.endswith(": strong coherence decides")
    assert one(words | {"Night": 1}, similarity([3.5], [0.001]), silent)[0] == "concept", (
        "9 words in 18, spellings once"
    )
    assert one(words, similarity([5.9], [0.001]), perturbation([0.5], [0.0], [0.001]))[0] == "concept"


@pytest.mark.parametrize(
    ("sim", "per"),
    [
        ((9.1, 0.06), (0.71, 0.08, 0.004)),
        ((9.1, np.nan), (0.71, 0.08, 0.004)),
        ((-3.0, 0.01), (0.71, 0.08, 0.004)),
        ((3.1, 0.001), (0.09, 0.08, 0.004)),
        ((3.1, 0.001), (0.71, 0.08, 0.06)),
        ((3.1, 0.001), (0.3, 0.31, 0.004)),
    ],
)
def test_one_failing_figure_makes_it_unclear(sim, per):
    name, reason, score = one(DAYS, similarity(*([v] for v in sim)), perturbation(*([v] for v in per)))
    assert name == "unclear"
    assert "distinct words" in reason
    assert score < 0.5


def test_without_perturbation_coherence_decides_and_the_reason_says_so():
    name, reason, score = one(DAYS, similarity([12.0], [0.001]))
    assert (name, score) == ("concept", pytest.approx((1 + 0.75 / 2) / 2))
    assert reason.endswith("; by similarity alone, perturbation has not been asked")


def test_a_neuron_without_figures_of_perturbation_is_no_concept():
    no_words = perturbation([np.nan], [np.nan], [np.nan])
    of_another = perturbation([1.0], [0.0], [0.0], neuron=[7])
    in_part = perturbation([0.3], [np.nan], [np.nan])
    for figures, why in (
        (no_words, "; none of its words could be replaced"),
        (of_another, "; omitted by the screen of perturbation"),
        (in_part, ", neighbours hold 30 %, controls unknown"),
    ):
        name, reason, score = one(DAYS, similarity([12.0], [0.001]), figures)
        assert (name, score) == ("untested", pytest.approx(0.75 / 4))
        assert reason.endswith(why)


def test_digits_are_a_form_however_coherent_their_vectors():
    assert one({"5": 8, "8": 6, "6": 3}, similarity([12.0], [0.001]))[0] == "form"
