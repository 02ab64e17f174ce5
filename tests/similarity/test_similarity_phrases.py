"""Whole windows: their words, vectors and null against plain loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from neurolocal.similarity.phrases import REACH, SIF, mean_vectors, phrase_scores, random_windows, window_words
from neurolocal.words import Vocabulary

WORDS = ["sun", "moon", "star", "tree", "leaf", "root", "king", "queen", "throne", "bread", "milk", "salt"]


def sentence_rows(rng: np.random.Generator, n: int = 60, length: int = 30) -> tuple[Vocabulary, list[np.ndarray]]:
    """Rows of one-token words, BOS (id 0) first."""
    vocabulary = Vocabulary([b"<s>", *(f" {w}".encode() for w in WORDS)], np.array([True] + [False] * len(WORDS)))
    return vocabulary, [np.append(0, rng.integers(1, len(WORDS) + 1, length)) for _ in range(n)]


def words_of(lists, vocabulary: Vocabulary):
    return [[vocabulary.word_at(e.tokens, e.peak) for e in one] for one in lists]


def test_a_window_is_the_words_around_the_peak_word(build) -> None:
    tokens = ["<bos>", " a", " b", " c", " d", " e", " f", " BAT", "tle", ",", " g", " h", " i", " j", " k", " l"]
    vocabulary, (example,) = build([(tokens, np.arange(len(tokens)) == 8)])
    word = vocabulary.word_at(example.tokens, example.peak)
    words = window_words(example.tokens, word, vocabulary)
    assert words == ["b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]
    assert window_words(example.tokens, word, vocabulary, peak=True) == [
        *words[:REACH],
        "battle",
        *words[REACH:],
    ]


def test_mean_vectors_equal_the_weighted_sum(make_vectors, rng: np.random.Generator) -> None:
    vectors = make_vectors(WORDS, rng.standard_normal((len(WORDS), 5)).astype(np.float32))
    counts = Counter({w: i * 50 for i, w in enumerate(WORDS)})
    embed = mean_vectors(vectors, counts)
    windows = [[], ["unknown"], *(list(rng.choice([*WORDS, "unknown"], 6)) for _ in range(20))]
    found = embed(windows)
    for words, vector in zip(windows, found, strict=True):
        total = np.zeros(5)
        for word in words:
            if word in WORDS:
                total += vectors.find(word) * SIF / (SIF + counts[word] / sum(counts.values()))
        norm = np.linalg.norm(total)
        assert vector == pytest.approx(total / norm if norm else total, abs=1e-5)


def test_scores_and_null_equal_plain_loops(build, make_vectors, rng: np.random.Generator) -> None:
    vocabulary, rows = sentence_rows(rng)
    vectors = make_vectors(WORDS, rng.standard_normal((len(WORDS), 4)).astype(np.float32))
    embed = mean_vectors(vectors, Counter(WORDS))
    pool = embed(random_windows(rows, vocabulary, seed=3))
    assert len(pool) > 100
    texts = [bytes(t).decode() for t in vocabulary.tokens]
    lists = []
    for n in (0, 1, 2, 7, 7):
        windows = [([texts[i] for i in rows[int(r)]], rng.random(len(rows[0]))) for r in rng.integers(0, 60, n)]
        lists.append(build(windows, vocabulary)[1] if n else [])
    found = phrase_scores(lists, words_of(lists, vocabulary), rows, vocabulary, embed, draws=300, seed=3)
    assert np.isnan(found.score[:2]).all()
    assert np.isnan(found.p[:2]).all()
    for i in range(2, 5):
        unit = embed([window_words(e.tokens, vocabulary.word_at(e.tokens, e.peak), vocabulary) for e in lists[i]])
        cosines = [float(a @ b) for j, a in enumerate(unit) for b in unit[:j]]
        assert found.score[i] == pytest.approx(np.mean(cosines), abs=1e-5)
        draws = np.random.default_rng([3, len(unit)])
        null = []
        for _ in range(300):
            drawn = pool[draws.choice(len(pool), len(unit), replace=False)]
            null.append(np.mean([float(a @ b) for j, a in enumerate(drawn) for b in drawn[:j]]))
        assert found.p[i] == pytest.approx((1 + sum(x >= found.score[i] - 1e-6 for x in null)) / 301, abs=0.004)
        assert found.z[i] == pytest.approx((found.score[i] - np.mean(null)) / np.std(null), abs=1e-2)


def test_p_of_random_windows_is_uniform(make_vectors, build) -> None:
    from scipy.stats import kstest

    # A stated seed: all p share the draws of one null and a finite pool, so fresh ones vary more than the test allows.
    rng = np.random.default_rng(1)
    vocabulary, rows = sentence_rows(rng, n=400)
    vectors = make_vectors(WORDS, rng.standard_normal((len(WORDS), 6)).astype(np.float32))
    texts = [bytes(t).decode() for t in vocabulary.tokens]
    lists = [
        build([([texts[i] for i in rows[int(r)]], rng.random(31)) for r in rng.integers(0, 400, 8)], vocabulary)[1]
        for _ in range(300)
    ]
    embed, words = mean_vectors(vectors, Counter()), words_of(lists, vocabulary)
    found = phrase_scores(lists, words, rows, vocabulary, embed, draws=999, seed=1)
    # Windows at a row's ends are shorter in both; the pool is finite, so a little slack.
    assert kstest(found.p, "uniform").pvalue > 1e-6
