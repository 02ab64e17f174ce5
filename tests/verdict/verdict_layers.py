"""Layers of evidence for the verdict tests: given figures, or random ones with every kind of gap."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import numpy as np
from tables import filled

from neurolocal.config import VerdictConfig
from neurolocal.records import BINS, PerturbationTable, SimilarityTable, Statistics
from neurolocal.verdict.table import verdict_table

CONFIG = VerdictConfig()
DAYS = dict.fromkeys(["Monday", "Friday", "week", "Sunday", "June", "noon", "yesterday", "march"], 2)


def statistics(maximum, count=1000, minimum=None, nonfinite=None):
    n = len(maximum)
    zeros = np.zeros((4, n), dtype=np.int64)
    low = np.zeros(n) if minimum is None else np.array(minimum)
    bad = np.zeros(n, dtype=np.int64) if nonfinite is None else np.array(nonfinite, dtype=np.int64)
    return Statistics(
        count=count,
        whole=zeros,
        fraction=zeros,
        minimum=low.astype(np.float32),
        maximum=np.array(maximum, dtype=np.float32),
        positive=np.zeros(n, dtype=np.int64),
        above=zeros,
        nonfinite=bad,
        sampled=0,
        histogram=np.zeros((n, BINS), dtype=np.int64),
    )


def similarity(z, q, neuron=None, **rest):
    neuron = range(len(z)) if neuron is None else neuron
    return filled(SimilarityTable, list(neuron), z=z, q=q, **{"n_known": [5] * len(z), **rest})


def perturbation(half, control_half, q, neuron=None, **rest):
    neuron = range(len(half)) if neuron is None else neuron
    return filled(PerturbationTable, list(neuron), half=half, control_half=control_half, q=q, **rest)


def one(words, sim=None, per=None, *, maximum=3.0, around=None, **rest):
    around = None if around is None else np.array(around, np.float64)
    table = verdict_table(statistics([maximum], **rest), sim, per, peaks=[words], config=CONFIG, around=around)
    return table.verdict[0], table.reason[0], float(table.score[0])


def random_layer(seed, n):
    """A layer of random evidence with gaps: neurons that no table contains, NaN, infinity, no words."""
    rng = np.random.default_rng(seed)

    def with_gaps(low, high, size):
        values = rng.uniform(low, high, size)
        values[rng.random(size) < 0.2] = np.nan
        return values

    texts = ["day", "Day", "DAY", "running", "king", "singing", ",", ";", "12", "\n", "été", "a\u202eb", "x" * 90]
    peaks = [Counter(rng.choice(texts, rng.integers(0, 12)).tolist()) for _ in range(n)]
    stats = statistics(rng.choice([0.0, 1e-9, 2.0, 5.0], n), nonfinite=rng.choice([0, 3, 1000], n))
    some, other = rng.permutation(n)[: n // 2 + 1], rng.permutation(n)[: n // 2 + 1]
    z = with_gaps(-5, 20, len(some))
    z[rng.random(len(some)) < 0.1] = np.inf
    spelled = {
        "form": rng.choice(["", "end ing", "capital first"], len(some)).tolist(),
        "form_share": with_gaps(0.5, 1, len(some)),
        "form_q": with_gaps(0, 0.1, len(some)),
    }
    sim = similarity(z, with_gaps(0, 0.2, len(some)), neuron=some, kept=rng.random(len(some)) < 0.7, **spelled)
    shares = [with_gaps(0, 1, len(other)), with_gaps(0, 1, len(other)), with_gaps(0, 0.2, len(other))]
    more = {f"{name}_half": with_gaps(0, 1, len(other)) for name in ("form", "spelled", "elsewhere")}
    per = perturbation(*shares, neuron=other, score=with_gaps(-1, 4, len(other)), **more)
    return stats, sim, per, peaks


def shuffled(table, rng):
    order = rng.permutation(len(table.neuron))
    held = {f.name: getattr(table, f.name) for f in fields(table)}
    return type(table)(**{k: picked(v, order) for k, v in held.items()})


def picked(column, order):
    """The entries of a column; the substitutes as they are."""
    if isinstance(column, list):
        return [column[i] for i in order]
    return column[order] if isinstance(column, np.ndarray) else column
