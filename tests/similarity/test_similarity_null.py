"""The null: which words are drawn, how sets are summed, and whether p is calibrated."""

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from neurolocal.similarity import null
from neurolocal.similarity.frequency_matched import score_words
from neurolocal.similarity.null import LEAST, draw, frequency_edges, frequency_pool, null_scores
from neurolocal.words.classes import GRAMMAR
from neurolocal.words.peaks import DistinctWords


def corpus(rng, make_vectors, n=3000, d=12):
    """Zipfian words whose vectors lean together the more frequent they are, as in any real embedding."""
    words = [f"w{i}" for i in range(n)]
    place = np.arange(1, n + 1)
    counts = Counter({w: int(c) for w, c in zip(words, np.maximum(1, 30000 / place), strict=True)})
    lean = np.zeros(d)
    lean[0] = 3
    matrix = rng.standard_normal((n, d)) + lean * (1 / np.sqrt(1 + np.log(place)))[:, None]
    return words, counts, make_vectors(words, matrix.astype(np.float32))


@pytest.mark.parametrize(
    ("wanted", "fitted", "fits"),
    [
        ([1, 0, 1], [1, 0, 1], True),
        ([5, 0, 0], [2, 3, 0], True),  # a surplus goes to the rarer bins
        ([0, 4, 0], [0, 3, 1], True),
        ([0, 0, 6], [0, 2, 4], True),  # and from the last one back
        ([0, 5, 4], [2, 3, 4], True),
        ([2, 3, 4], [2, 3, 4], True),
        ([9, 0, 1], [2, 3, 4], False),
    ],
)
def test_a_surplus_of_words_moves_to_bins_that_have_them(wanted, fitted, fits):
    found, fit = null._fitted(np.array([wanted]), np.array([2, 3, 4]))
    assert (found[0].tolist(), fit.tolist()) == (fitted, [fits])


@pytest.mark.parametrize("small", [0, 1 << 30])
def test_draws_are_weighted_without_replacement_and_so_is_each_first_part(monkeypatch, small):
    monkeypatch.setattr(null, "SMALL", small)
    weights = np.array([8, 4, 2, 1, 1])
    width = 40000
    drawn = draw(weights, 3, width=width, rng=np.random.default_rng(3))
    assert drawn.shape == (3, width)
    assert all(len(set(column)) == 3 for column in drawn.T[:2000])
    got = Counter(map(tuple, drawn.T.tolist()))
    expected = {}
    for a, b, c in itertools.permutations(range(5), 3):
        total = weights.sum()
        chance = weights[a] / total * weights[b] / (total - weights[a])
        expected[a, b, c] = chance * weights[c] / (total - weights[a] - weights[b])
    keys = list(expected)
    assert chisquare([got[k] for k in keys], [expected[k] * width for k in keys]).pvalue > 1e-4
    assert draw(weights, 0, width=4, rng=np.random.default_rng(0)).shape == (0, 4)
    full = draw(weights, 5, width=50, rng=np.random.default_rng(0))
    assert (np.sort(full, axis=0) == np.arange(5)[:, None]).all()


def test_bins_are_of_equal_log_width_and_never_small(rng):
    counts = np.sort(np.maximum(1, (rng.pareto(0.7, 5000) * 3).astype(np.int64)))[::-1].copy()
    for bins in (1, 5, 10, 40):
        edges = frequency_edges(counts, bins)
        assert edges[0] == 0
        assert edges[-1] == len(counts)
        assert (np.diff(edges) >= LEAST).all()
        assert len(edges) - 1 <= bins
        inner = edges[1:-1]
        assert (counts[inner - 1] > counts[inner]).all(), "words of one count are in one bin"
    assert frequency_edges(np.array([5, 5, 1]), 10).tolist() == [0, 3]


def test_null_equals_sets_drawn_and_compared_one_by_one(rng, make_vectors):
    _, counts, vectors = corpus(rng, make_vectors, n=400)
    pool = frequency_pool(counts, vectors, bins=5)
    n_bins, draws, seed = len(pool.sizes), 150, 9
    profiles = rng.integers(0, 4, (30, n_bins))
    profiles[:, 0] += 2
    profiles[7] = profiles[8]
    score = rng.random(30) * 0.6
    fast = null_scores(pool, profiles, score=score, draws=draws, seed=seed)
    most = profiles.max(axis=0)
    surely, perhaps, values = np.zeros(30), np.zeros(30), [[] for _ in range(30)]
    for block, begin in enumerate(range(0, draws, null.BLOCK)):
        width = min(null.BLOCK, draws - begin)
        drawn = [
            pool.edges[b]
            + draw(
                pool.counts[pool.edges[b] : pool.edges[b + 1]],
                int(most[b]),
                width=width,
                rng=np.random.default_rng([seed, b, block]),
            )
            for b in range(n_bins)
        ]
        for i, t in itertools.product(range(30), range(width)):
            chosen = [int(w) for b in range(n_bins) for w in drawn[b][: profiles[i, b], t]]
            assert len(set(chosen)) == profiles[i].sum()
            pairs = [float(np.dot(pool.unit[x], pool.unit[y])) for x, y in itertools.combinations(chosen, 2)]
            values[i].append(np.mean(pairs))
            surely[i] += values[i][-1] >= score[i] + 1e-5  # nearer than that, float32 may say either
            perhaps[i] += values[i][-1] >= score[i] - 1e-5
    assert fast.mean == pytest.approx([np.mean(v) for v in values], abs=1e-6)
    assert fast.sd == pytest.approx([np.std(v) for v in values], abs=1e-5)
    p = fast.p * (draws + 1) - 1
    assert (p > surely - 0.01).all()
    assert (p < perhaps + 0.01).all()
    assert (perhaps - surely).sum() < 6  # of 4,500 about 0.15 are so near: a chance of 1e-8


def test_null_agrees_with_numpy_choice(rng, make_vectors):
    _, counts, vectors = corpus(rng, make_vectors, n=600)
    pool = frequency_pool(counts, vectors, bins=6)
    profile = np.minimum(3, pool.sizes)[None]
    n = int(profile.sum())
    found = null_scores(pool, profile, score=np.array([0.3]), draws=4000, seed=1)
    slow = []
    for _ in range(4000):
        parts = []
        for b, m in enumerate(profile[0]):
            weights = pool.counts[pool.edges[b] : pool.edges[b + 1]]
            parts.append(pool.edges[b] + rng.choice(len(weights), m, replace=False, p=weights / weights.sum()))
        total = pool.unit[np.concatenate(parts)].sum(axis=0)
        slow.append((total @ total - n) / (n * (n - 1)))
    assert found.mean[0] == pytest.approx(np.mean(slow), abs=8 * np.std(slow) / np.sqrt(4000))  # 5.7 sd of both
    assert found.sd[0] == pytest.approx(np.std(slow), rel=0.15)


@pytest.mark.parametrize("kind", ["running words", "distinct words", "frequent words"])
def test_p_is_uniform_on_random_sets(make_vectors, kind):
    # A stated seed: a test of calibration on fresh data fails by chance.
    rng = np.random.default_rng({"running words": 1, "distinct words": 2, "frequent words": 3}[kind])
    _, counts, vectors = corpus(rng, make_vectors)
    pool = frequency_pool(counts, vectors, bins=15)
    chance = pool.counts / pool.counts.sum()
    choose = {
        "running words": lambda: np.unique(rng.choice(len(chance), 20, p=chance)),
        "distinct words": lambda: rng.choice(len(chance), 12, replace=False),
        "frequent words": lambda: np.unique((len(chance) ** rng.random(8)).astype(int) - 1),
    }[kind]
    sets = [s for s in (choose() for _ in range(2000)) if len(s) > 1]
    profiles = np.stack(
        [np.bincount(np.searchsorted(pool.edges, s, "right") - 1, minlength=len(pool.sizes)) for s in sets]
    )
    totals = np.stack([pool.unit[s].sum(axis=0) for s in sets]).astype(np.float64)
    n = profiles.sum(axis=1)
    score = ((totals**2).sum(axis=1) - n) / (n * (n - 1))
    p = null_scores(pool, profiles, score=score, draws=3999, seed=5).p
    assert 0.02 <= np.mean(p <= 0.05) <= 0.08
    assert kstest(p, "uniform").statistic < 0.05


def test_a_set_that_is_its_own_null_has_p_one(make_vectors, rng):
    _, counts, vectors = corpus(rng, make_vectors, n=4)
    pool = frequency_pool(counts, vectors, bins=10)
    total = pool.unit.sum(axis=0, dtype=np.float64)
    result = null_scores(pool, np.array([[4]]), score=np.array([(total @ total - 4) / 12]), draws=200, seed=0)
    assert result.p[0] == 1
    assert result.sd[0] < 1e-6


def test_what_a_bin_cannot_hold_goes_to_the_next_and_too_many_words_have_no_p(make_vectors, rng):
    _, counts, vectors = corpus(rng, make_vectors, n=200)
    pool = frequency_pool(counts, vectors, bins=3)
    sizes = pool.sizes
    assert len(sizes) > 1
    wide = np.zeros((2, len(sizes)), np.int64)
    wide[0, -1] = sizes[-1] + 5
    wide[1, 0] = 201
    result = null_scores(pool, wide, score=np.array([0.1, 0.1]), draws=50, seed=0)
    assert 0 < result.p[0] <= 1
    assert np.isnan(result.p[1])
    assert np.isnan(result.mean[1])


def test_an_unseen_word_is_matched_by_its_place_among_the_vectors(make_vectors, rng):
    words = [",", *(f"w{i}" for i in range(2000)), "zzz"]
    vectors = make_vectors(words)
    counts = {f"w{i}": max(1, 20000 // (i + 1)) for i in range(2000)}
    pool = frequency_pool(counts, vectors, bins=8)
    assert pool.bin_of(",", vectors) == 0, "the commonest entry of the vectors is no rare word"
    assert pool.bin_of("zzz", vectors) == len(pool.sizes) - 1
    assert pool.bin_of("w0", vectors) == 0
    assert pool.bin_of("not there at all", vectors) == len(pool.sizes) - 1


def test_large_bins_are_drawn_like_small_ones():
    weights = np.array([1200, 600, *([1] * 1800)])
    width, m = 20000, 3
    drawn = draw(weights, m, width=width, rng=np.random.default_rng(8))
    assert len(weights) > null.SMALL
    assert all(len(set(column)) == m for column in drawn.T)
    got = Counter(zip(*np.minimum(drawn[:2], 2).tolist(), strict=True))
    rest, total = 1800, 3600
    expected = {(2, 2): rest / total * (rest - 1) / (total - 1)}
    for a, w in ((0, 1200), (1, 600)):
        other = 1800 - w
        expected[a, 1 - a] = w / total * other / (total - w)
        expected[a, 2] = w / total * rest / (total - w)
        expected[2, a] = rest / total * w / (total - 1)
    keys = list(expected)
    assert sum(expected.values()) == pytest.approx(1)
    assert chisquare([got[k] for k in keys], [expected[k] * width for k in keys]).pvalue > 1e-4


def test_function_words_are_drawn_for_function_words(rng, make_vectors):
    function = sorted(GRAMMAR["function words"])
    words = [*function, *(f"word{i}" for i in range(600))]
    counts = dict(zip(words, rng.integers(1, 5000, len(words)).tolist(), strict=True))
    vectors = make_vectors(words, rng.standard_normal((len(words), 8)).astype(np.float32))
    pool = frequency_pool(counts, vectors, bins=6)
    assert set(pool.bins) == set(words)
    for b in range(len(pool.sizes)):
        assert len({word in function for word, at in pool.bins.items() if at == b}) == 1
    ordered = sorted(words, key=pool.bins.__getitem__)
    assert set(ordered[: len(function)]) == set(function), "a surplus of function words goes to other function words"
    few = [*function[: LEAST - 1], *words[-200:]]
    pool = frequency_pool(dict.fromkeys(few, 5), vectors, bins=6)
    assert (pool.sizes >= LEAST).all(), "too few function words have no bin of their own"
    assert pool.sizes.sum() == len(few)


def test_a_list_of_function_words_is_no_more_coherent_than_others(rng, make_vectors):
    function = sorted(GRAMMAR["function words"])
    words = [*function, *(f"word{i}" for i in range(600))]
    lean = np.zeros((len(words), 8))
    lean[: len(function), 0] = 2
    vectors = make_vectors(words, (rng.standard_normal(lean.shape) + lean).astype(np.float32))
    counts = dict.fromkeys(words, 10)
    pool = frequency_pool(counts, vectors, bins=6)
    sets = [rng.choice(function, 12, replace=False) for _ in range(200)]
    score, known, profiles = score_words([DistinctWords(tuple(s.tolist()), 0.1) for s in sets], vectors, pool=pool)
    assert (known == 12).all()
    p = null_scores(pool, profiles, score=score, draws=400, seed=0).p
    assert kstest(p, "uniform").pvalue > 1e-4
