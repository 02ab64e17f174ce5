"""A neuron made by hand, with its examples, random rows and the texts drawn from them."""

from __future__ import annotations

import numpy as np

from neurolocal.records import Example
from neurolocal.score import texts
from neurolocal.words import Vocabulary

WORDS = ["<s>", *(f" w{chr(97 + i)}" for i in range(20))]
VOCABULARY = Vocabulary([w.encode() for w in WORDS], np.array([True] + [False] * 20))


def example(rank: int, row: np.ndarray, position: int, activation: float, index: int) -> Example:
    start, stop = max(0, position - 30), min(len(row), position + 9)
    values = np.zeros(stop - start, np.float32)
    values[position - start] = activation
    return Example(rank, index, position, activation, start, row[start:stop], values)


def drawn(seed: int, each: int = 4):
    """A neuron that fires at token 5 in half of the contexts, with its examples and random rows."""
    rng = np.random.default_rng(seed)
    rows = {100 + r: rng.integers(1, 21, 120) for r in range(8)}
    examples = [example(r, rows[100 + r], 40 + r, 10.0 - r, 100 + r) for r in range(8)]
    random = []
    for r in range(30):
        tokens = rng.integers(1, 21, int(rng.integers(20, 100)))
        values = np.where((tokens == 5) & (rng.random(len(tokens)) < 0.3), 9.0, 0.5).astype(np.float32)
        values[0] = np.nan
        random.append((r, tokens, values))
    drawing = texts.Drawing(rows.__getitem__, each, 50_000)
    found = texts.draw(examples, random, VOCABULARY, drawing, most=10.0, rng=np.random.default_rng(seed))
    return examples, rows, random, found
