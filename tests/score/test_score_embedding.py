"""Descriptions and texts by word vectors alone."""

from __future__ import annotations

import numpy as np
import pytest
from firing_twins import Vectors

from neurolocal.score import embedding


def test_similarity_is_the_largest_cosine_with_the_mean_of_the_description() -> None:
    vectors = Vectors()
    meaning = embedding.meaning("the words red and seven", vectors)
    assert meaning is not None
    assert len(meaning) == 2, "words of the templates have no meaning"
    mean = meaning.mean(axis=0)
    cosines = [float(vectors.find(w) @ mean / np.linalg.norm(mean)) for w in ("green", "eight")]
    found = embedding.similarity("a green walk, an Eight", meaning, vectors)
    assert found == pytest.approx(max(cosines), abs=1e-6)


def test_without_vectors_there_is_no_similarity() -> None:
    assert embedding.meaning("unheard words", Vectors()) is None
    assert np.isnan(embedding.similarity("red", None, Vectors()))
    assert np.isnan(embedding.similarity("unheard", embedding.meaning("red", Vectors()), Vectors()))
