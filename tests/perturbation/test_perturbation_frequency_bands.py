"""Frequency bands: words of about the same count, by cosine."""

from __future__ import annotations

from collections import Counter

import numpy as np
from perturbation_twins import ToyVectors

from neurolocal.perturbation.frequency_bands import BAND, FrequencyBands


def random_words(rng: np.random.Generator, n: int = 2000) -> dict[str, np.ndarray]:
    return {"".join(rng.choice(list("abcdefghij"), 7)): rng.normal(size=8) for _ in range(n)}


def test_a_band_has_words_of_about_the_same_count(rng: np.random.Generator) -> None:
    words = random_words(rng)
    counts = Counter({w: int(10_000 / (i + 1)) for i, w in enumerate(words)})
    bands = FrequencyBands(counts, ToyVectors(words).find, seed=0)
    for place in (300, 700, 1500):
        word = list(words)[place]
        band = bands.words[bands.band(word)]
        assert BAND[0] <= len(band) <= BAND[1]
        assert all(0.4 <= counts[b] / counts[word] <= 2.5 for b in band)
    rare = bands.words[bands.band(list(words)[-1])]
    assert rare != sorted(rare), "equal counts stand in alphabetical order"


def test_the_band_is_sorted_by_cosine(rng: np.random.Generator) -> None:
    words = random_words(rng, 500)
    vectors, word = ToyVectors(words), next(iter(words))
    bands = FrequencyBands(Counter(dict.fromkeys(words, 5)), vectors.find, seed=0)
    found, cosines = bands.by_cosine(word, vectors.find(word))
    assert sorted(found) == sorted(bands.words[bands.band(word)])
    assert cosines == sorted(cosines, reverse=True)
    for w, c in zip(found, cosines, strict=True):
        assert abs(c - float(vectors.find(w) @ vectors.find(word))) < 1e-5


def test_without_a_vector_the_band_is_in_order_of_frequency(rng: np.random.Generator) -> None:
    words = random_words(rng, 300)
    bands = FrequencyBands(Counter({w: i + 1 for i, w in enumerate(words)}), ToyVectors(words).find, seed=0)
    found, cosines = bands.by_cosine("unknown", None)
    assert found == bands.words[bands.band("unknown")]
    assert len(found) >= BAND[0] // 2
    assert np.isnan(cosines).all()


def test_words_without_vector_or_letters_are_left_out() -> None:
    vectors = ToyVectors({"cat": np.ones(3), "12": np.ones(3)})
    bands = FrequencyBands(Counter({"cat": 3, "dog": 2, "12": 9}), vectors.find, seed=0)
    assert bands.words == ["cat"]
    nothing = FrequencyBands(Counter(), vectors.find, seed=0)
    assert nothing.by_cosine("cat", vectors.find("cat")) == ([], [])
