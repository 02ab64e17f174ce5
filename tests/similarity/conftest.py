"""Hand-made vocabularies, examples and vectors for the similarity tests."""

import os
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from neurolocal.records import Example
from neurolocal.similarity import Vectors
from neurolocal.words import Vocabulary

Build = Callable[..., tuple[Vocabulary, list[Example]]]


@pytest.fixture
def rng() -> np.random.Generator:
    """Fresh random inputs on every run; the seed is printed where a test fails."""
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    return np.random.default_rng(seed)


@pytest.fixture
def build() -> Build:
    """Windows of token texts with activations -> a vocabulary and one neuron's examples; BOS is id 0."""

    def made(
        windows: Sequence[tuple[Sequence[str], Sequence[float]]], vocabulary: Vocabulary | None = None
    ) -> tuple[Vocabulary, list[Example]]:
        texts = list(dict.fromkeys(["<bos>", *(t for tokens, _ in windows for t in tokens)]))
        special = np.zeros(len(texts), bool)
        special[0] = True
        if vocabulary is None:
            vocabulary = Vocabulary([t.encode() for t in texts], special)
        ids = {bytes(t).decode(): i for i, t in enumerate(vocabulary.tokens)}
        examples = []
        for rank, (tokens, activations) in enumerate(windows):
            values = np.array(activations, np.float32)
            peak = int(np.argmax(values))
            examples.append(
                Example(
                    rank=rank,
                    row=rank,
                    position=7 + peak,
                    activation=float(values[peak]),
                    start=7,
                    tokens=np.array([ids[t] for t in tokens], dtype=np.int64),
                    activations=values,
                )
            )
        return vocabulary, examples

    return made


@pytest.fixture
def make_vectors() -> Callable[..., Vectors]:
    """Words and a matrix -> vectors; random where no matrix comes."""

    def made(words: Sequence[str], matrix: np.ndarray | None = None, *, d: int = 8, seed: int = 0) -> Vectors:
        if matrix is None:
            matrix = np.random.default_rng(seed).standard_normal((len(words), d)).astype(np.float32)
        return Vectors(words, matrix, name="made", sha256="0" * 64)

    return made
