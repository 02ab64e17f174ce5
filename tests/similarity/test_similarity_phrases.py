"""Whole windows: their words, vectors and null against plain loops; and what is said of the vectors themselves."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from neurolocal.similarity.peaks import apart

from neurolocal.config import SimilarityConfig
from neurolocal.similarity import similarity, vector_facts
from neurolocal.similarity.phrases import REACH, SIF, mean_vectors, phrase_scores, random_windows, window_words
from neurolocal.similarity.vectors import document_vectors
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


def test_p_of_random_windows_is_uniform(make_vectors, build, rng: np.random.Generator) -> None:
    from scipy.stats import kstest

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


def test_windows_of_one_subject_are_found_and_none_are_asked_for_without_rows(build, make_vectors, rng) -> None:
    vocabulary, rows = sentence_rows(rng)
    matrix = rng.standard_normal((len(WORDS), 6)).astype(np.float32)
    matrix[:3] = matrix[0] + 0.1 * matrix[:3]
    # Without a common direction, which would make all windows alike.
    vectors = make_vectors(WORDS, matrix).centred(Counter(WORDS))
    same = [
        ([f" {w}" for w in rng.choice(WORDS[:3], 12)] + [" milk"] + [" sun"] * 5, np.arange(18) == 12) for _ in "ab"
    ]
    _, own = build(same * 4, vocabulary)
    counts, config = Counter(WORDS), SimilarityConfig(draws=199)
    table = similarity([own], vocabulary, vectors, word_counts=counts, rows=lambda: rows, config=config)
    assert table.phrase_p[0] == table.phrase_q[0] == 1 / 200
    assert table.phrase_z[0] > 3
    assert np.isnan(table.document_p[0])
    for asked in ({"rows": None}, {"rows": lambda: rows, "config": SimilarityConfig(draws=199, phrases="none")}):
        none = similarity([own], vocabulary, vectors, **({"word_counts": counts, "config": config} | asked))
        assert np.isnan([none.phrase_score[0], none.phrase_p[0], none.phrase_q[0]]).all()


TRAIN = """
import numpy as np
from neurolocal.similarity.vectors import document_vectors
texts = ["the king and the queen sat on the throne"] * 20 + ["bread and milk and salt for the table"] * 20
embed = document_vectors(texts, seed=5)
print(embed([["king", "throne"], ["milk", "salt"], ["nothing", "known"], ["king", "throne"]]).tobytes().hex())
"""


def test_documents_are_the_same_in_every_process_and_in_any_order() -> None:
    said = [subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True) for _ in "ab"]
    assert said[0].stdout == said[1].stdout
    found = np.frombuffer(bytes.fromhex(said[0].stdout.strip()), np.float32).reshape(4, -1)
    assert np.array_equal(found[0], found[3])
    assert not found[2].any()
    assert np.linalg.norm(found[:2], axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_documents_of_one_kind_are_alike() -> None:
    texts = ["the king and the queen sat on the throne of the realm"] * 40
    texts += ["bread and milk and salt stood on the table for supper"] * 40
    found = document_vectors(texts, seed=5)([["king", "queen", "throne"], ["queen", "realm", "king"], ["milk", "salt"]])
    assert found[0] @ found[1] > found[0] @ found[2]


def test_spellings_of_one_word_are_one_word() -> None:
    assert apart(["sample", "samples", "day", "Days", "night", "sampled"]) == ["sample", "day", "night"]
    assert apart([]) == []


def test_facts_of_vectors(make_vectors, rng: np.random.Generator) -> None:
    from scipy.stats import spearmanr

    from neurolocal.similarity.vectors import judgements

    pairs = judgements()
    assert {name: len(found) for name, found in pairs.items()} == {"wordsim353": 353, "simlex999": 999}
    english = sorted({w for one in pairs.values() for a, b, _ in one for w in (a, b)})
    vectors = make_vectors(english, rng.standard_normal((len(english), 9)).astype(np.float32))
    facts = vector_facts(vectors, Counter({english[0]: 3, english[1].upper(): 5, "qqqq": 2, ",": 50}))
    for name, found in pairs.items():
        own = [float(vectors.find(a) @ vectors.find(b)) for a, b, _ in found]
        assert facts[name]["spearman"] == pytest.approx(spearmanr(own, [s for *_, s in found]).statistic)
        assert facts[name]["known"] == len(found)
    assert facts["coverage"] == {"types": 0.6667, "tokens": 0.8}
    assert facts["warnings"] == []


@pytest.mark.parametrize("words", [["один", "два", "три"], ["नमस्ते", "दुनिया"], ["你好", "世界"]])
def test_vectors_of_another_language_are_warned_of(make_vectors, words: list[str]) -> None:
    facts = vector_facts(make_vectors(["one", "two"]), Counter(words))
    assert facts["wordsim353"]["spearman"] is None
    assert any("know 0 % of the corpus's running words" in w and "--vectors corpus" in w for w in facts["warnings"])
    own = vector_facts(make_vectors(words), Counter(words))
    assert own["coverage"]["tokens"] == 1.0
    assert own["simlex999"] == {"spearman": None, "known": 0, "pairs": 999}
    assert own["warnings"] == []
    assert vector_facts(make_vectors(words), Counter({",": 3}))["warnings"][-1] == "the corpus has no words of letters"


def test_centred_vectors_have_no_common_direction(make_vectors, rng: np.random.Generator) -> None:
    matrix = rng.standard_normal((50, 6)).astype(np.float32) + 2
    words = [f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(50)]
    vectors, counts = make_vectors(words, matrix), Counter({w: i + 1 for i, w in enumerate(words)})
    centred = vectors.centred(counts)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    moved = unit - np.average(unit, axis=0, weights=list(counts.values()))
    expected = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    assert centred.matrix == pytest.approx(expected, abs=1e-5)
    assert centred.sha256 == vectors.sha256
    assert vectors.centred({"unknown": 3}) is vectors
