"""The null against a slow twin: one tree after the other, by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from meaning_twins import naive_holds, null_of, pool_of, world
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from neurolocal.meanings.groups import Scale
from neurolocal.meanings.linkage import best_groups
from neurolocal.meanings.null import BLOCK, FIRST


def best_by_scipy(unit: np.ndarray, scale: Scale, least: int) -> float:
    """The best group of all merges of one set."""
    groups, best = {i: [i] for i in range(len(unit))}, -np.inf
    for step, (a, b, _, _) in enumerate(linkage(pdist(unit, "cosine"), "average")):
        groups[len(unit) + step] = groups[int(a)] + groups[int(b)]
        if len(groups[len(unit) + step]) >= least:
            best = max(best, naive_holds(unit[groups[len(unit) + step]], scale))
    return best


@pytest.mark.parametrize(("n", "least"), [(1, 2), (2, 2), (3, 3), (7, 2), (11, 3), (20, 4), (60, 3)])
def test_best_groups_equal_trees_one_by_one(n: int, least: int, rng: np.random.Generator) -> None:
    unit = rng.normal(size=(90, 9)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    sets = np.array([rng.permutation(90)[:n] for _ in range(30)], np.int32)
    scale = Scale(0.02, 0.3)
    wanted = [best_by_scipy(unit[one], scale, least) if n > 1 else -np.inf for one in sets]
    np.testing.assert_allclose(best_groups(unit, sets, *scale, least), wanted, atol=1e-4)


def test_random_sets_have_the_words_of_each_bin(rng: np.random.Generator) -> None:
    vectors, groups = world(rng, clusters=0, each=0, others=300)
    pool = pool_of(vectors, groups, rng)
    null, words = null_of(pool, vectors), groups[-1][:9]
    of_vector = {vectors.find(w).tobytes(): w for w in groups[-1]}
    wanted = sorted(pool.bin_of(w, vectors) for w in words)
    for block, width in ((0, FIRST), (1, BLOCK)):
        sets = null.sets(words, block)
        assert sets.shape == (width, 9)
        for one in sets:
            drawn = [of_vector[pool.unit[i].tobytes()] for i in one]
            assert len(set(drawn)) == 9
            assert sorted(pool.bin_of(w, vectors) for w in drawn) == wanted


@pytest.mark.slow
def test_p_of_random_words_is_calibrated_and_ends_early() -> None:
    rng = np.random.default_rng(3)  # a statistical test: the seed is fixed
    vectors, groups = world(rng, clusters=0, each=0, others=400)
    pool = pool_of(vectors, groups, rng)
    null, p = null_of(pool, vectors), []
    for _ in range(200):
        words = rng.choice(groups[-1], 8, replace=False, p=None).tolist()
        unit = np.stack([vectors.find(w) for w in words])
        holds = best_groups(unit, np.arange(8, dtype=np.int32)[None], *null.scale, 3)
        p.append(null.p(float(holds[0]), words, blocks=3))
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.11
    assert 0.4 <= np.mean(np.array(p) <= 0.5) <= 0.6
    assert null.p(-99.0, groups[-1][:8]) == 1.0  # every set reaches it: the first block is enough
    assert null.p(1e9, groups[-1][:8], blocks=2) == 1 / (1 + FIRST + BLOCK)
