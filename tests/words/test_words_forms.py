"""What words share by their letters: forms, rates and the p against slow twins, calibration, power."""

from __future__ import annotations

from collections import Counter
from math import comb, isnan

import numpy as np
import pytest

from neurolocal.words.forms import FEWEST, FormRates, characters, forms, has_form, spelling


@pytest.mark.parametrize(
    ("word", "has", "has_not"),
    [
        ("unhappy", ["begin un", "end py", "length 7", "begin u", "end y"], ["capital first", "begin happy"]),
        ("Paris", ["capital first", "begin par", "length 5", "end aris"], ["capital all", "begin Par", "end paris"]),
        ("NATO", ["capital all", "length 4"], ["capital first"]),
        ("I", ["capital first", "length 1"], ["capital all"]),
        ("Été", ["begin é", "capital first", "length 3"], []),
        (",", ["symbols"], ["length 1"]),
        ("1984", ["digits"], ["length 4"]),
        ("\n", ["space"], []),
    ],
)
def test_forms_of_a_word(word: str, has: list[str], has_not: list[str]) -> None:
    assert set(has) <= set(forms(word))
    assert not set(has_not) & set(forms(word))
    assert all(has_form(word, form) for form in forms(word))


def test_spellings_and_characters() -> None:
    assert {spelling(w) for w in ["Lily", "LILY", "Lily's", "lily’s", "ｌｉｌｙ"]} == {"lily"}
    assert spelling("'s") == "'s"
    assert [characters(w) for w in (" \n", "--", "3.5", "a1", "ß")] == ["space", "symbols", "digits", None, None]


def corpus(rng: np.random.Generator, n: int = 1500) -> Counter[str]:
    """Made-up words with common beginnings and endings, by Zipf's law."""
    heads, tails = ["", "un", "re", "con", "dis"], ["", "ing", "tion", "s", "ly", "ed"]
    counts: Counter[str] = Counter()
    for i in range(n):
        stem = "".join(rng.choice(list("aeioubcdlmnprst"), rng.integers(2, 6)))
        word = str(rng.choice(heads)) + stem + str(rng.choice(tails))
        word = word.capitalize() if rng.random() < 0.2 else word.upper() if rng.random() < 0.05 else word
        counts[word] += int(5000 / (i + 1)) + 1
    return counts


def tail(n: int, k: int, rate: float) -> float:
    return sum(comb(n, i) * rate**i * (1 - rate) ** (n - i) for i in range(k, n + 1))


def slow_p(counts: Counter[str], words: list[str]) -> tuple[str, float]:
    """The most surprising form and its p, form by form and word by word."""
    top = np.log(max(counts.values())) + 1e-9
    band = {w: int(FormRates.BANDS * np.log(n) / top) for w, n in counts.items()}
    every = sorted({form for w in counts for form in forms(w)})
    n, rates = len(words), {}
    running = [sum(c for w, c in counts.items() if band[w] == b) for b in range(FormRates.BANDS)]
    having = {f: [0] * FormRates.BANDS for f in every}
    for w, c in counts.items():
        for f in forms(w):
            having[f][band[w]] += c
    for f in every:
        exact = sum(having[f][band.get(w, 0)] / max(running[band.get(w, 0)], 1) for w in words) / n
        octaves = np.ceil(FormRates.GROUPS_PER_OCTAVE * np.log2(max(exact, 1e-9))) / FormRates.GROUPS_PER_OCTAVE
        rates[f] = min(2.0**octaves, 1.0)
    seen = {f: k for f in every if (k := sum(has_form(w, f) for w in words)) >= 2}
    if not seen:
        return "", 1.0
    tails = {f: tail(n, k, rates[f]) for f, k in seen.items()}
    best = min(tails, key=lambda f: (tails[f], -len(f), f))
    p = 0.0
    for f in every:
        attained = [t for k in range(2, n + 1) if (t := tail(n, k, rates[f])) <= tails[best] * (1 + 1e-9)]
        p += max(attained, default=0.0)
    return best, min(1.0, p)


def test_p_equals_the_sum_over_all_forms(rng: np.random.Generator) -> None:
    counts = corpus(rng, 300)
    rates, listed = FormRates(counts), list(counts)
    for n in (3, 5, 9):
        for ending in ("", "tion", "ed"):
            choice = [w for w in listed if w.casefold().endswith(ending)]
            words = [choice[i] for i in rng.choice(len(choice), min(n, len(choice)), replace=False)]
            if len({spelling(w) for w in words}) < max(FEWEST, len(words)):
                continue
            found = rates.shared(words)
            form, p = slow_p(counts, words)
            assert found.p == pytest.approx(p, rel=1e-6)
            if form:
                assert found.form == form
                assert found.share == sum(has_form(w, form) for w in words) / len(words)


def test_p_is_no_smaller_than_chance(rng: np.random.Generator) -> None:
    counts = corpus(rng)
    rates, words = FormRates(counts), list(counts)
    weight = np.array(list(counts.values()), float)
    ps = []
    for _ in range(1500):
        chosen = rng.choice(len(words), rng.integers(4, 15), replace=False, p=weight / weight.sum())
        ps.append(rates.shared([words[i] for i in chosen]).p)
    # 1,500 sets: 6.5 standard deviations; of a Poisson distribution of mean 7.5 that is a chance of 1e-7.
    assert np.mean(np.array(ps) <= 0.05) < 0.05 + 6.5 * (0.05 * 0.95 / 1500) ** 0.5
    assert np.mean(np.array(ps) <= 0.005) < 0.005 + 6.5 * (0.005 * 0.995 / 1500) ** 0.5


@pytest.mark.parametrize("form", ["begin con", "end tion", "capital first", "capital all", "length 4"])
def test_words_of_a_form_are_found(rng: np.random.Generator, form: str) -> None:
    counts = corpus(rng)
    rates = FormRates(counts)
    choice = list({spelling(w): w for w in counts if has_form(w, form)}.values())
    found = rates.shared([choice[i] for i in rng.choice(len(choice), 14, replace=False)])
    assert found.p < 0.01
    assert found.share == 1.0
    assert all(has_form(w, found.form) for w in choice if has_form(w, form)) or found.form == form


def test_too_few_words_and_an_unknown_corpus() -> None:
    rates = FormRates(Counter(a=3, battle=2))
    for words in ([], ["battle"], ["battle", "cattle"], ["Battle", "battle", "BATTLE's"]):
        found = rates.shared(words)
        assert (found.form, isnan(found.share), isnan(found.p)) == ("", True, True)
    found = FormRates({}).shared(["один", "два", "три"])
    assert (found.form, found.p) == ("", 1.0)
