"""Made-up words with vectors: clusters of words around random directions, and words without a direction in common."""

from __future__ import annotations

import numpy as np

from neurolocal.meanings.groups import Scale
from neurolocal.meanings.null import Null
from neurolocal.meanings.points import Points
from neurolocal.similarity.null import Pool, frequency_pool
from neurolocal.similarity.vectors import Vectors

DIMENSIONS = 24


def made_words(n: int, rng: np.random.Generator) -> list[str]:
    """Different words of eight consonants; none is a spelling variant of another."""
    letters = np.array(list("bcfghjklmpqtvwxz"))
    return sorted({"".join(rng.choice(letters, 8)) for _ in range(n)})


def world(rng: np.random.Generator, *, clusters: int, each: int, others: int) -> tuple[Vectors, list[list[str]]]:
    """Vectors, and the words: of each cluster, and last those of none."""
    words = made_words(clusters * each + others, rng)
    assert len(words) == clusters * each + others
    rng.shuffle(words)
    matrix = rng.normal(size=(len(words), DIMENSIONS)).astype(np.float32)
    centre = rng.normal(size=(clusters, DIMENSIONS)) * 1.5
    matrix[: clusters * each] += np.repeat(centre, each, axis=0).astype(np.float32)
    groups = [words[i * each : (i + 1) * each] for i in range(clusters)] + [words[clusters * each :]]
    return Vectors(words, matrix, name="made up", sha256="0"), groups


def pool_of(vectors: Vectors, groups: list[list[str]], rng: np.random.Generator) -> Pool:
    """The words with random counts."""
    return frequency_pool({w: int(rng.integers(3, 400)) for g in groups for w in g}, vectors, bins=6)


def points(words: list[str], vectors: Vectors, contexts: np.ndarray | None = None) -> Points:
    """The points of a neuron whose examples peak on these words."""
    distinct = list(dict.fromkeys(words))
    unit = np.stack([vectors.find(w) for w in distinct])
    of_example = np.array([distinct.index(w) for w in words])
    if contexts is None:
        contexts = np.zeros((len(words), DIMENSIONS), np.float32)
    return Points(words, distinct, unit, of_example, contexts)


def null_of(pool: Pool, vectors: Vectors, *, most: int = 20, seed: int = 0) -> Null:
    return Null(pool, vectors, most=most, least=3, seed=seed)


def naive_holds(unit: np.ndarray, scale: Scale) -> float:
    """How well a group holds together, pair by pair."""
    n = len(unit)
    cosines = [float(unit[i].astype(float) @ unit[j]) for i in range(n) for j in range(i)]
    return (np.mean(cosines) - scale.mean) * np.sqrt(len(cosines)) / scale.sd
