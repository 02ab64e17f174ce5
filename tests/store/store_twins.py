"""A small made-up collection with every kind of dataset."""

from __future__ import annotations

import numpy as np

from neurolocal import records
from neurolocal.records import SIDES, Statistics, TopK
from neurolocal.store import Collected
from neurolocal.words import Vocabulary

BEFORE, AFTER, K, NEURONS, ROWS, LENGTH = 3, 2, 3, 4, 5, 9


def top(rng: np.random.Generator, neurons: int = NEURONS, k: int = K) -> TopK:
    """Lists as a collection could leave them: used slots first, the rest empty."""
    used = np.arange(k) < rng.integers(0, k + 1, neurons)[:, None]
    row = np.where(used, rng.integers(0, ROWS, (neurons, k)), -1).astype(np.int64)
    position = np.where(used, rng.integers(0, 3, (neurons, k)), -1).astype(np.int32)
    activation = np.where(used, -np.sort(-rng.normal(size=(neurons, k))), np.nan).astype(np.float32)
    window = np.where(used[:, :, None], rng.normal(size=(neurons, k, BEFORE + 1 + AFTER)), np.nan).astype(np.float32)
    return TopK(activation, row, position, window)


def statistics(rng: np.random.Generator, neurons: int = NEURONS) -> Statistics:
    """Any statistics."""
    return Statistics(
        45,
        rng.integers(-9, 9, (2, neurons)),
        rng.integers(0, 1 << 60, (2, neurons)),
        rng.normal(size=neurons).astype(np.float32),
        rng.normal(size=neurons).astype(np.float32),
        rng.integers(0, 45, neurons),
        rng.integers(0, 2, neurons),
    )


def made_up(rng: np.random.Generator, *, layers: tuple[int, ...] = (0, 2), **more) -> Collected:
    """A collection of two layers."""
    parts = {
        "manifest": {
            "subject": {"sha256": "a"}, "tokenizer": {"sha256": "b"}, "corpus": {"files": [], "n_files": 0},
            "config": {"site": "post", "before": BEFORE, "after": AFTER}, "rows": ROWS, "tokens": 40, "complete": True,
        },
        "lists": {layer: {side: top(rng) for side in SIDES} for layer in layers},
        "statistics": {layer: statistics(rng) for layer in layers},
        "tokens": rng.integers(0, 4, (ROWS, LENGTH)),
        "length": rng.integers(3, LENGTH + 1, ROWS),
        "index": np.arange(ROWS, dtype=np.int64),
        "token_count": rng.integers(0, 9, 4),
        "vocabulary": Vocabulary([b"", b"a\x00b", b" \xff", "é".encode()], np.array([True, False, False, False])),
        "rest": (rng.integers(0, 4, 3), rng.integers(0, 4, 2)),
    }  # fmt: skip
    return Collected(site="post", **(parts | more))


def verdict_table(n: int = 3) -> records.VerdictTable:
    """A verdict for the first n neurons."""
    return records.VerdictTable(
        np.arange(n),
        ["concept", "dead", "unclear"][:n],
        np.linspace(1, 0, n, dtype=np.float32),
        np.arange(n),
        ["why"] * n,
    )


def evidence(rng: np.random.Generator) -> list[tuple]:
    """A table of every stage, for layer 2."""
    two, f = np.array([0, 3]), lambda: rng.normal(size=2).astype(np.float32)
    i32 = np.array([2, 1], np.int32)
    subs = records.SubstituteTable(
        np.array([0, 3, 3]), np.zeros(3, np.int32), ["original", "neighbour", "control"], [" a", "\x00", "é"],
        np.ones(3, np.float32), np.array([1, np.nan, 3], np.float32),
    )  # fmt: skip
    tables = {
        "similarity": records.SimilarityTable(
            two,
            f(),
            two,
            two,
            f(),
            f(),
            f(),
            f(),
            np.array([0.5, np.nan]),
            np.array([0.5, np.nan]),
            np.array([True, False]),
        ),
        "perturbation": records.PerturbationTable(
            two, i32, i32, f(), f(), f(), f(), f(), f(), f(), rng.random(2), rng.random(2), f(), subs
        ),
        "summary": records.SummaryTable(two, ["days", ""], ["llm", "counts"], ["?", ""], ["!\n", ""], f()),
        "verdict": verdict_table(),
    }
    return [(stage, 2, "largest", table, {"config": {"k": stage}}) for stage, table in tables.items()]
