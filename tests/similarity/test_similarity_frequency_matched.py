"""The default method as a whole: what it finds, what it leaves out, what it refuses."""

from collections import Counter

import numpy as np
import pytest

from neurolocal.config import SimilarityConfig
from neurolocal.errors import VectorsError
from neurolocal.similarity import dealt_similarity, frequency_matched_similarity
from neurolocal.similarity.coherence import coherence
from neurolocal.similarity.frequency_matched import score_words
from neurolocal.similarity.null import frequency_pool
from neurolocal.words import Vocabulary
from neurolocal.words.peaks import distinct_words


def neurons(build, words, rng):
    """One neuron on a planted group of words, twenty on random ones, one on one word, one without examples."""
    groups = [words[2000:2010], *([words[i] for i in rng.choice(2000, 10, replace=False)] for _ in range(20))]
    groups += [[words[5]] * 6, []]
    vocabulary, _ = build([([f" {w}" for w in words], range(len(words)))])
    return vocabulary, [build([([" w0", f" {w}"], [0, 1]) for w in group], vocabulary)[1] for group in groups]


def letters(i):
    """Words that are no spellings of one another."""
    return "".join("bcfghjkmpq"[int(c)] for c in f"{(i * 7_654_321 + 1) % 99_999_989:08d}")


def test_the_planted_neuron_is_found_and_all_columns_are_right(build, make_vectors):
    rng = np.random.default_rng(2)  # a stated seed: of 20 null neurons three are false discoveries once in a thousand
    words = ["w", *(letters(i) for i in range(2500))]
    matrix = rng.standard_normal((len(words), 16)).astype(np.float32)
    matrix[2000:2010] += 2
    vectors = make_vectors(words, matrix)
    counts = Counter({w: max(1, 9000 // (i + 1)) for i, w in enumerate(words)})
    vocabulary, examples = neurons(build, ["w0", *words[1:]], rng)
    config = SimilarityConfig(draws=1500, seed=4)
    table = frequency_matched_similarity(examples, vocabulary, vectors, word_counts=counts, config=config)
    assert table.kept[0]
    assert table.q[0] < 0.05 < 3 < table.z[0]
    assert table.kept[1:].sum() <= 2
    assert table.neuron.tolist() == list(range(23))
    assert table.n_words.tolist() == [*([10] * 21), 1, 0]
    assert table.repetition[:22] == pytest.approx([*([0.1] * 21), 1.0])
    for column in (table.score, table.null_mean, table.null_sd, table.z, table.p, table.q):
        assert np.isnan(column[21:]).all()
        assert np.isfinite(column[:21]).all()
    assert not table.kept[21:].any()
    again = frequency_matched_similarity(examples, vocabulary, vectors, word_counts=counts, config=config)
    assert again.p.tobytes() == table.p.tobytes()
    other = frequency_matched_similarity(
        examples, vocabulary, vectors, word_counts=counts, config=SimilarityConfig(draws=1500, seed=5)
    )
    assert other.p.tobytes() != table.p.tobytes()


def test_peak_words_are_whole_words_from_the_examples(build, make_vectors):
    vocabulary, examples = build(
        [
            ([" the", " b", "attle", " of"], [0, 0, 3, 1]),
            ([" Battle", " of"], [2, 1]),
            ([" of", " war", ","], [0, 2, 1]),
            ([" war", ","], [0, 2]),
            (["<bos>", " war"], [5, 0]),
        ]
    )
    config, vectors = SimilarityConfig(draws=19), make_vectors(["battle", "war", "of"])
    table = frequency_matched_similarity(
        [examples], vocabulary, vectors, word_counts=Counter(battle=2, war=2, of=4), config=config
    )
    assert table.n_words[0] == 4, "battle, war, the comma, BOS"
    assert table.n_known[0] == 2
    assert table.repetition[0] == pytest.approx(2 / 5)
    assert table.n_tokens[0] == 5
    assert table.score[0] == pytest.approx(float(vectors.find("battle") @ vectors.find("war")), abs=1e-6)


def test_score_words_equals_one_neuron_at_a_time(make_vectors, rng):
    words = [letters(i) for i in range(300)]
    vectors = make_vectors(words[:250])
    pool = frequency_pool({w: i + 1 for i, w in enumerate(words)}, vectors, bins=6)
    peaks = [distinct_words(rng.choice(words, n).tolist()) for n in rng.integers(0, 12, 40)]
    score, n_known, profiles = score_words(peaks, vectors, pool=pool)
    for i, one in enumerate(peaks):
        known = [w for w in one.words if vectors.find(w) is not None]
        assert n_known[i] == len(known)
        if len(known) >= 2:
            assert score[i] == coherence(np.stack([vectors.find(w) for w in known]))
            assert profiles[i].tolist() == [
                sum(pool.bin_of(w, vectors) == b for w in known) for b in range(len(pool.sizes))
            ]
        else:
            assert np.isnan(score[i])
            assert not profiles[i].any()


def test_vectors_that_know_nothing_of_the_corpus_are_refused(build, make_vectors):
    vocabulary, examples = build([([" a", " b"], [0, 1])])
    with pytest.raises(VectorsError, match="vectors made know 1 of the corpus's 3 words: too few"):
        frequency_matched_similarity(
            [examples],
            vocabulary,
            make_vectors(["a", "x"]),
            word_counts=Counter(a=3, один=2, два=1),
            config=SimilarityConfig(),
        )


def test_examples_of_symbols_and_spaces_alone_have_no_score(build, make_vectors):
    vocabulary, examples = build([(["\n", "  "], [0, 1]), (["\n", "12"], [1, 0]), (["<bos>", "="], [0, 1])])
    table = frequency_matched_similarity(
        [examples, []],
        vocabulary,
        make_vectors(["a", "b"]),
        word_counts=Counter(a=3, b=1),
        config=SimilarityConfig(draws=19),
    )
    assert table.n_words.tolist() == [2, 0], "white space counts once"
    assert table.n_known.tolist() == [0, 0]
    assert np.isnan(table.score).all()


WORDS = ["sun", "moon", "star", "tree", "leaf", "root", "king", "queen", "throne", "bread", "milk", "salt"]


def sentence_rows(rng: np.random.Generator, n: int = 60, length: int = 30) -> tuple[Vocabulary, list[np.ndarray]]:
    """Rows of one-token words, BOS (id 0) first."""
    vocabulary = Vocabulary([b"<s>", *(f" {w}".encode() for w in WORDS)], np.array([True] + [False] * len(WORDS)))
    return vocabulary, [np.append(0, rng.integers(1, len(WORDS) + 1, length)) for _ in range(n)]


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
    table = frequency_matched_similarity(
        [own], vocabulary, vectors, word_counts=counts, rows=lambda: rows, config=config
    )
    assert table.phrase_p[0] == table.phrase_q[0] == 1 / 200
    assert table.phrase_z[0] > 3
    assert np.isnan(table.document_p[0])
    for asked in ({"rows": None}, {"rows": lambda: rows, "config": SimilarityConfig(draws=199, phrases="none")}):
        none = frequency_matched_similarity(
            [own], vocabulary, vectors, **({"word_counts": counts, "config": config} | asked)
        )
        assert np.isnan([none.phrase_score[0], none.phrase_p[0], none.phrase_q[0]]).all()


def test_dealt_at_random_a_planted_layer_is_not_coherent(build, make_vectors):
    """Thirty neurons on words of a group each; dealt, their sets are random. A fixed seed: chance has a share."""
    rng = np.random.default_rng(8)
    words = ["w0", *(letters(i) for i in range(600))]
    matrix = rng.standard_normal((len(words), 16)).astype(np.float32)
    for group in range(30):
        matrix[1 + 10 * group : 11 + 10 * group] += 3 * rng.standard_normal(16)
    vectors = make_vectors(words, matrix)
    vocabulary, _ = build([([f" {w}" for w in words], range(len(words)))])
    own = [words[1 + 10 * group : 11 + 10 * group] for group in range(30)]
    examples = [build([([" w0", f" {w}"], [0, 1]) for w in one], vocabulary)[1] for one in own]
    counts, config = Counter(dict.fromkeys(words, 50)), SimilarityConfig(draws=1500)
    table = frequency_matched_similarity(examples, vocabulary, vectors, word_counts=counts, config=config)
    dealt = dealt_similarity(examples, vocabulary, vectors, word_counts=counts, config=config)
    assert table.kept.sum() >= 25
    assert (dealt.neurons, dealt.kept) == (30, 0)
    assert dealt == dealt_similarity(examples, vocabulary, vectors, word_counts=counts, config=config)
