"""Each rule of the verdict by itself, then what must hold for any evidence at all."""

import os
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import filled

from neurolocal.config import VerdictConfig
from neurolocal.records import (
    BINS,
    VERDICTS,
    Example,
    PerturbationTable,
    SimilarityTable,
    Statistics,
)
from neurolocal.verdict.rules import gather, made_of, peak_words, verdict
from neurolocal.verdict.sensitivity import VALUES, effects
from neurolocal.words import Vocabulary

CONFIG = VerdictConfig()
DAYS = dict.fromkeys(["Monday", "Friday", "week", "Sunday", "June", "noon", "yesterday", "march"], 2)


def statistics(maximum, count=1000, minimum=None, nonfinite=None):
    n = len(maximum)
    zeros = np.zeros((4, n), dtype=np.int64)
    low = np.zeros(n) if minimum is None else np.array(minimum)
    bad = np.zeros(n, dtype=np.int64) if nonfinite is None else np.array(nonfinite, dtype=np.int64)
    return Statistics(
        count=count,
        whole=zeros,
        fraction=zeros,
        minimum=low.astype(np.float32),
        maximum=np.array(maximum, dtype=np.float32),
        positive=np.zeros(n, dtype=np.int64),
        above=zeros,
        nonfinite=bad,
        sampled=0,
        histogram=np.zeros((n, BINS), dtype=np.int64),
    )


def similarity(z, q, neuron=None, **rest):
    neuron = range(len(z)) if neuron is None else neuron
    return filled(SimilarityTable, list(neuron), z=z, q=q, **{"n_known": [5] * len(z), **rest})


def perturbation(half, control_half, q, neuron=None, **rest):
    neuron = range(len(half)) if neuron is None else neuron
    return filled(PerturbationTable, list(neuron), half=half, control_half=control_half, q=q, **rest)


def one(words, sim=None, per=None, *, maximum=3.0, **rest):
    table = verdict(statistics([maximum], **rest), sim, per, peaks=[words], config=CONFIG)
    return table.verdict[0], table.reason[0], float(table.score[0])


def test_dead_neuron_is_dead_whatever_else_is_known():
    name, reason, score = one(DAYS, similarity([9], [0]), perturbation([1], [0], [0]), maximum=3e-9)
    assert (name, score) == ("dead", 0.0)
    assert reason == "largest |activation| 3e-09 over 1,000 positions, under 1e-06"


def test_a_negative_neuron_is_not_dead():
    assert one(DAYS, maximum=0.0, minimum=[-2.0])[0] == "unclear"


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


VERBS = dict.fromkeys(["running", "seeing", "going", "asking", "telling"], 4)
ING = {"form": ["end ing"], "form_share": [1.0], "form_q": [1e-6]}


def test_a_shared_spelling_is_form_unless_its_words_cohere():
    assert one(VERBS, similarity([0.3], [0.8], **ING))[:2] == (
        "form",
        "5 distinct words, 100 % of them “end ing” (q = 1e-06), coherence z = 0.3 (q = 0.8)",
    )
    assert one(VERBS, similarity([9.1], [0.001], **ING))[0] == "concept"
    assert one(VERBS, similarity([0.3], [0.8], **(ING | {"form_q": [0.06]})))[0] == "unclear"
    assert one(VERBS, similarity([0.3], [0.8], **(ING | {"form_share": [0.69]})))[0] == "unclear"
    assert one(VERBS)[0] == "unclear"


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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["12", "1984", "7", "x"], "digits in 3 of 4 examples"),
        (["12", "1984", "x", "y"], None),
        ([",", ";"], "punctuation in 2 of 2 examples"),
        (["\n", " ", "\t"], "white space in 3 of 3 examples"),
        ([","], None),
        (["cat", "house", "tree", "sky", "moon"], None),
        ([], None),
    ],
)
def test_what_is_not_letters(words, says):
    assert made_of(dict.fromkeys(words, 1), 0.7) == says


def test_punctuation_is_form_even_where_its_vectors_cohere():
    assert one({",": 9, ";": 8, ":": 3}, similarity([9.1], [0.001]))[0] == "form"


def test_concept_needs_both_and_says_the_figures():
    name, reason, score = one(DAYS, similarity([9.1], [0.001]), perturbation([0.71], [0.08], [0.004]))
    assert name == "concept"
    assert reason == ("8 distinct words, coherence z = 9.1 (q = 0.001), neighbours hold 71 %, controls 8 % (q = 0.004)")
    assert score == pytest.approx((1 + 9.1 / 13.1 * 1.63 / 2) / 2)


def test_coherence_beyond_doubt_is_a_closed_list():
    silent = perturbation([0.0], [0.0], [1.0])
    name, reason, _ = one(DAYS, similarity([6.0], [0.001]), silent)
    assert name == "concept"
    assert reason.endswith(": a closed list")
    assert one(DAYS, similarity([5.9], [0.001]), silent)[0] == "unclear"


@pytest.mark.parametrize(
    ("sim", "per"),
    [
        ((9.1, 0.06), (0.71, 0.08, 0.004)),
        ((9.1, np.nan), (0.71, 0.08, 0.004)),
        ((-3.0, 0.01), (0.71, 0.08, 0.004)),
        ((5.1, 0.001), (0.09, 0.08, 0.004)),
        ((5.1, 0.001), (0.71, 0.08, 0.06)),
        ((5.1, 0.001), (0.3, 0.31, 0.004)),
        ((9.1, 0.001), (0.3, np.nan, np.nan)),
    ],
)
def test_one_failing_figure_makes_it_unclear(sim, per):
    name, reason, score = one(DAYS, similarity(*([v] for v in sim)), perturbation(*([v] for v in per)))
    assert name == "unclear"
    assert "distinct words" in reason
    assert score < 0.5


def test_without_perturbation_similarity_decides_and_says_so():
    name, reason, score = one(DAYS, similarity([12.0], [0.001]))
    assert (name, score) == ("concept", pytest.approx((1 + 0.75 / 2) / 2))
    assert reason.endswith("; by similarity alone, perturbation has not been asked")


def test_a_neuron_that_perturbation_passed_over_is_no_concept():
    for tested in (perturbation([np.nan], [np.nan], [np.nan]), perturbation([1.0], [0.0], [0.0], neuron=[7])):
        name, reason, score = one(DAYS, similarity([12.0], [0.001]), tested)
        assert (name, score) == ("unclear", pytest.approx(0.75 / 4))
        assert reason.endswith("; perturbation has no figures for it")


def test_digits_are_a_form_however_coherent_their_vectors():
    assert one({"5": 8, "8": 6, "6": 3}, similarity([12.0], [0.001]))[0] == "form"


def test_no_evidence_at_all_is_said():
    assert one(DAYS)[:2] == (
        "unclear",
        "8 distinct words, coherence not measured; perturbation has not been asked",
    )
    assert one({})[:2] == ("unclear", "no examples")
    assert "coherence unknown (1 with a vector)" in one(DAYS, similarity([np.nan], [np.nan], n_known=[1]))[1]


def test_reason_is_one_short_line_whatever_the_word():
    _, reason, _ = one({"\n\u202e" + "x" * 500: 20})
    assert "\n" not in reason
    assert "\u202e" not in reason
    assert len(reason) < 120


def test_peak_words_counts_whole_words():
    pieces = [b"The", b" b", b"attle", b" of", b" Hastings"]
    vocabulary = Vocabulary(pieces, np.zeros(5, dtype=bool))
    tokens, activations = np.arange(5), np.zeros(5, dtype=np.float32)
    examples = [Example(r, 0, p + 10, 1.0, 10, tokens, activations) for r, p in enumerate([1, 2, 4])]
    assert peak_words(examples, vocabulary) == {"battle": 2, "Hastings": 1}


def test_notebook_ranks_the_kept_by_share_of_the_largest():
    sim = similarity([0] * 6, [np.nan] * 6, kept=[True, True, False, True, True, True])
    per = perturbation([0] * 5, [0] * 5, [1] * 5, neuron=[3, 1, 0, 2, 5], score=[1.25, 5.0, 1.5, 9.0, np.nan])
    table = verdict(statistics([3.0] * 6), sim, per, peaks=[DAYS] * 6, config=CONFIG, method="notebook")
    np.testing.assert_allclose(table.score, [0.3, 1.0, 0, 0.25, 0, 0], rtol=1e-6)
    assert table.verdict == ["concept", "concept", "unclear", "unclear", "unclear", "unclear"]
    assert table.rank.tolist() == [1, 0, 3, 2, 4, 5]
    assert table.reason[0] == "notebook: average score 1.5, 0.300 of the layer's 5"
    assert table.reason[2] == "notebook: not kept"
    assert table.reason[4] == "notebook: kept by similarity, no average score"
    assert VerdictConfig().floor == 0.3


def test_notebook_without_a_positive_score_or_without_tables():
    sim = similarity([0, 0], [1, 1], kept=[True, True])
    per = perturbation([0, 0], [0, 0], [1, 1], score=[-1.0, -2.0])
    for tables in ((sim, per), (sim, None), (None, per), (None, None)):
        table = verdict(statistics([3.0, 3.0]), *tables, peaks=[DAYS] * 2, config=CONFIG, method="notebook")
        assert table.score.tolist() == [0, 0]
        assert table.verdict == ["unclear", "unclear"]


def random_layer(seed, n):
    """Evidence with every kind of hole: neurons that no table holds, NaN, infinity, no words."""
    rng = np.random.default_rng(seed)

    def holed(low, high, size):
        values = rng.uniform(low, high, size)
        values[rng.random(size) < 0.2] = np.nan
        return values

    texts = ["day", "Day", "DAY", "running", "king", "singing", ",", ";", "12", "\n", "été", "a\u202eb", "x" * 90]
    peaks = [Counter(rng.choice(texts, rng.integers(0, 12)).tolist()) for _ in range(n)]
    stats = statistics(rng.choice([0.0, 1e-9, 2.0, 5.0], n), nonfinite=rng.choice([0, 3, 1000], n))
    some, other = rng.permutation(n)[: n // 2 + 1], rng.permutation(n)[: n // 2 + 1]
    z = holed(-5, 20, len(some))
    z[rng.random(len(some)) < 0.1] = np.inf
    spelled = {
        "form": rng.choice(["", "end ing", "capital first"], len(some)).tolist(),
        "form_share": holed(0.5, 1, len(some)),
        "form_q": holed(0, 0.1, len(some)),
    }
    sim = similarity(z, holed(0, 0.2, len(some)), neuron=some, kept=rng.random(len(some)) < 0.7, **spelled)
    shares = [holed(0, 1, len(other)), holed(0, 1, len(other)), holed(0, 0.2, len(other))]
    more = {f"{name}_half": holed(0, 1, len(other)) for name in ("form", "spelled", "elsewhere")}
    per = perturbation(*shares, neuron=other, score=holed(-1, 4, len(other)), **more)
    return stats, sim, per, peaks


def shuffled(table, rng):
    order = rng.permutation(len(table.neuron))
    held = {f.name: getattr(table, f.name) for f in fields(table)}
    return type(table)(**{k: picked(v, order) for k, v in held.items()})


def picked(column, order):
    """The entries of a column; the substitutes as they are."""
    if isinstance(column, list):
        return [column[i] for i in order]
    return column[order] if isinstance(column, np.ndarray) else column


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 40), method=st.sampled_from(["default", "notebook"]))
def test_every_neuron_has_one_verdict_and_the_order_of_rows_does_not_matter(seed, n, method):
    stats, sim, per, peaks = random_layer(seed, n)
    table = verdict(stats, sim, per, peaks=peaks, config=CONFIG, method=method)
    assert table.neuron.tolist() == list(range(n))
    assert len(table.verdict) == len(table.reason) == n
    assert set(table.verdict) <= set(VERDICTS)
    assert all(r and "\n" not in r and "nan" not in r for r in table.reason)
    assert np.all((table.score >= 0) & (table.score <= 1))
    by_hand = sorted(range(n), key=lambda i: (-float(table.score[i]), i))
    assert [int(table.rank[i]) for i in by_hand] == list(range(n))
    if method == "default":
        concept = np.array([v == "concept" for v in table.verdict])
        assert np.all(table.score[concept] >= 0.5)
        assert np.all(table.score[~concept] < 0.5)
    rng = np.random.default_rng(seed + 1)
    again = verdict(stats, shuffled(sim, rng), shuffled(per, rng), peaks=peaks, config=CONFIG, method=method)
    assert again.verdict == table.verdict
    assert again.reason == table.reason
    np.testing.assert_array_equal(again.score, table.score)


def test_a_verdict_depends_on_the_neurons_own_evidence_alone():
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    stats, sim, per, peaks = random_layer(seed, 30)
    whole = verdict(stats, sim, per, peaks=peaks, config=CONFIG)
    for i in range(30):
        alone = statistics([stats.maximum[i]], nonfinite=[stats.nonfinite[i]])
        cut = []
        for table in (sim, per):
            here = table.neuron == i
            held = {f.name: getattr(table, f.name) for f in fields(table)}
            cut.append(type(table)(**{k: picked(v, np.flatnonzero(here)) for k, v in held.items()}))
            cut[-1].neuron[:] = 0
        table = verdict(alone, cut[0], cut[1], peaks=[peaks[i]], config=CONFIG)
        assert (table.verdict[0], table.reason[0]) == (whole.verdict[i], whole.reason[i])
        assert table.score[0] == whole.score[i]


def test_explain_moves_one_threshold_at_a_time_and_counts_every_neuron():
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    stats, sim, per, peaks = random_layer(seed, 60)
    found = effects(gather(stats, sim, per, peaks), CONFIG)
    assert {e.threshold for e in found} == set(VALUES) == {f.name for f in fields(VerdictConfig)} - {"halfway", "floor"}
    now = verdict(stats, sim, per, peaks=peaks, config=CONFIG).verdict
    for effect in found:
        config = replace(CONFIG, **{effect.threshold: effect.value})
        then = verdict(stats, sim, per, peaks=peaks, config=config).verdict
        assert effect.counts == {v: then.count(v) for v in VERDICTS}
        assert effect.moved == sum(a != b for a, b in zip(now, then, strict=True))
        assert effect.chosen == (getattr(CONFIG, effect.threshold) == effect.value)
    assert sum(e.chosen for e in found) == len(VALUES)
