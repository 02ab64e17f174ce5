"""Coherence against the plain mean over pairs."""

import itertools
import math

import numpy as np
import pytest

from neurolocal.similarity.coherence import coherence, self_paired


def cosine(a, b):
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("n", [2, 3, 7, 40])
def test_coherence_is_the_mean_over_distinct_pairs(rng, n):
    raw = rng.standard_normal((n, 12)) + 0.5
    unit = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    slow = np.mean([cosine(raw[i], raw[j]) for i, j in itertools.combinations(range(n), 2)])
    assert coherence(unit) == pytest.approx(slow, abs=1e-6)
    total, pairs = self_paired(unit)
    slow_pairs = [cosine(raw[i], raw[j]) for i in range(n) for j in range(i, n)]
    assert (total, pairs) == (pytest.approx(sum(slow_pairs), abs=1e-4), len(slow_pairs))


def test_coherence_of_less_than_a_pair_is_unknown():
    assert math.isnan(coherence(np.zeros((0, 4), np.float32)))
    assert math.isnan(coherence(np.ones((1, 1), np.float32)))
