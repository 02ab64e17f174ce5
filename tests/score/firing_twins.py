"""A small vocabulary with vectors, random neurons, and a slow kernel to compare with."""

from __future__ import annotations

import numpy as np

from neurolocal.records import Example, SubstituteTable
from neurolocal.words import Vocabulary

WORDS = ("", "red", " red", " Red", " blue", " green", " seven", " eight", ",", " the", " of", "\n", " walk")
VOCABULARY = Vocabulary([w.encode() for w in WORDS], np.array([True] + [False] * (len(WORDS) - 1)))


class Vectors:
    """Colours point one way, numbers another, the rest is unknown."""

    def find(self, word: str) -> np.ndarray | None:
        known = {
            "red": (1, 0, 0.1),
            "blue": (1, 0.2, 0),
            "green": (1, 0.1, 0.2),
            "seven": (0, 1, 0),
            "eight": (0, 1, 0.3),
        }
        found = known.get(word.casefold())
        return None if found is None else (np.array(found) / np.linalg.norm(found)).astype(np.float32)


def example(rank: int, tokens: list[int], activations: list[float]) -> Example:
    values = np.array(activations, np.float32)
    peak = int(np.nanargmax(np.abs(values)))
    return Example(rank, rank, peak, float(values[peak]), 0, np.array(tokens, np.uint16), values)


def drawn(seed: int) -> tuple[list[Example], SubstituteTable]:
    """Ten random examples, some windows with NaN, and substitutes of this neuron and of another."""
    rng = np.random.default_rng(seed)
    examples = []
    for rank in range(10):
        n = int(rng.integers(3, 12))
        values = rng.normal(0.2, 1.0, n).astype(np.float32)
        values[rng.random(n) < 0.1] = np.nan
        values[int(rng.integers(n))] = 6.0 - 0.3 * rank
        examples.append(example(rank, rng.integers(0, len(WORDS), n).tolist(), values.tolist()))
    m = 30
    table = SubstituteTable(
        neuron=rng.choice([7, 8], m).astype(np.int64),
        rank=rng.integers(0, 12, m).astype(np.int32),
        kind=rng.choice(["original", "neighbour", "control", "alone", "elsewhere", "reach"], m).tolist(),
        word=rng.choice([*WORDS[1:], " two words"], m).tolist(),
        cosine=np.zeros(m, np.float32),
        activation=rng.normal(2.0, 2.0, m).astype(np.float32),
    )
    return examples, table


def slow_alike(a: int, b: int) -> float:
    if a < 0 or b < 0:
        return 0.0
    if a == b:
        return 1.0
    s, t = WORDS[a].strip(), WORDS[b].strip()
    if s.casefold() == t.casefold():
        return 0.85
    u, v = Vectors().find(s), Vectors().find(t)
    return 0.0 if u is None or v is None else 0.7 * max(0.0, float(u @ v)) ** 2


def slow_context(row: list[int], i: int) -> np.ndarray:
    total = np.zeros(3)
    for token in row[max(0, i - 5) : i]:
        v = Vectors().find(WORDS[token].strip())
        total = total if v is None else total + v
    n = np.linalg.norm(total)
    return total / n if n > 1e-9 else np.zeros(3)


def slow_kernel(
    r: list[int], i: int, s: list[int], j: int, *, at_i: int | None = None, at_j: int | None = None
) -> float:
    def at(row: list[int], k: int) -> int:
        return row[k] if 0 <= k < len(row) else -1

    token = slow_alike(at(r, i) if at_i is None else at_i, at(s, j) if at_j is None else at_j)
    previous = slow_alike(at(r, i - 1), at(s, j - 1))
    second, after = slow_alike(at(r, i - 2), at(s, j - 2)), slow_alike(at(r, i + 1), at(s, j + 1))
    context = max(0.0, float(slow_context(r, i) @ slow_context(s, j)))
    around = previous + 0.5 * previous * second + 0.5 * context + 0.5 * after
    return token * (3 + around) + 0.2 * (previous + context + after)
