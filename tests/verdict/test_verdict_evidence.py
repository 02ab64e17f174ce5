"""Evidence: gathered from tables with gaps, and what the peak words are made of."""

import math

import numpy as np
import pytest
from verdict_layers import perturbation, picked, random_layer, similarity, statistics

from neurolocal.verdict.evidence import gather, repeated_word, without_letters
from neurolocal.words.forms import spelling


def test_each_neuron_has_the_figures_of_its_own_rows():
    sim = similarity([1.0, 2.0], [0.1, 0.2], neuron=[2, 0], form=["end s", ""], n_known=[4, 7])
    per = perturbation([0.5], [0.25], [0.01], neuron=[1], elsewhere_half=[0.75])
    found = gather(statistics([1.0, 0.0, 3.0], minimum=[-4.0, 0.0, -1.0]), sim, per, [{"a": 1}, {}, {"b": 2}])
    assert [e.z for e in found[::2]] == [2.0, 1.0]
    assert [e.coherence_q for e in found[::2]] == [0.2, 0.1]
    assert [(e.known, e.form) for e in found] == [(7, ""), (None, ""), (4, "end s")]
    assert math.isnan(found[1].z)
    assert (found[1].half, found[1].control_half, found[1].perturbation_q) == (0.5, 0.25, 0.01)
    assert found[1].elsewhere_half == 0.75
    assert [e.tested for e in found] == [False, True, False]
    assert all(e.asked for e in found), "perturbation was run on the layer, if not on every neuron"
    assert [e.magnitude for e in found] == [4.0, 0.0, 3.0]
    assert [dict(e.words) for e in found] == [{"a": 1}, {}, {"b": 2}]


def test_without_tables_nothing_is_measured():
    (found,) = gather(statistics([2.0], nonfinite=[1000]), None, None, [{"a": 1}])
    assert not found.asked
    assert not found.tested
    assert found.known is None
    assert (found.count, found.finite, found.magnitude) == (1000, 0, 0.0)
    assert np.isnan([found.z, found.coherence_q, found.half, found.form_q, found.spelled_half]).all()


def test_gathered_figures_equal_a_search_of_the_tables(rng: np.random.Generator):
    stats, sim, per, peaks = random_layer(int(rng.integers(2**32)), 25)
    for neuron, e in enumerate(gather(stats, sim, per, peaks)):
        for table, pairs in (
            (sim, {"z": "z", "coherence_q": "q", "form_share": "form_share", "form_q": "form_q"}),
            (per, {"half": "half", "control_half": "control_half", "perturbation_q": "q", "form_half": "form_half"}),
        ):
            at = np.flatnonzero(table.neuron == neuron)
            for field, column in pairs.items():
                expected = float(picked(getattr(table, column), at)[0]) if len(at) else math.nan
                assert getattr(e, field) == pytest.approx(expected, abs=0, nan_ok=True)


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
    assert without_letters(dict.fromkeys(words, 1), 0.7) == says


def test_a_repeated_word_has_its_spellings_counted_together():
    assert repeated_word({"poly": 12, "Poly": 4, "POLY": 2, "P": 2}, 0.8) == ("poly", 18, 20, 3)
    assert repeated_word({"poly": 15, "P": 5}, 0.8) is None
    assert repeated_word({}, 0.8) is None
    assert repeated_word({"b": 1, "a": 1}, 0.5) == ("a", 1, 2, 1), "ties by alphabet"


def test_a_repeated_word_equals_a_plain_count(rng: np.random.Generator):
    texts = ["day", "Day", "DAY", "day's", "night", "Night"]
    for _ in range(100):
        words = {w: int(n) for w, n in zip(texts, rng.integers(0, 5, len(texts)), strict=True) if n}
        examples = [spelling(w) for w, n in words.items() for _ in range(n)]
        found = repeated_word(words, 0.6)
        most = max(examples.count(w) for w in examples) if examples else 0
        assert (found is not None) == (bool(examples) and most >= 0.6 * len(examples))
        if found is not None:
            assert (found.n, found.total) == (examples.count(found.word), len(examples)) == (most, len(examples))
