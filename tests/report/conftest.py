"""A store made by hand: the reading side of `Store` over random but seeded data, hostile on request."""

import os
from pathlib import Path

import numpy as np
import pytest

from neurolocal.config import VerdictConfig
from neurolocal.records import (
    Example,
    PerturbationTable,
    SimilarityTable,
    Statistics,
    SubstituteTable,
    SummaryTable,
)
from neurolocal.verdict import peak_words, verdict
from neurolocal.words import Vocabulary

VOCABULARY = [
    "<|endoftext|>",
    " the",
    " a",
    " of",
    " and",
    ",",
    ".",
    "\n",
    " Monday",
    " Tuesday",
    " Friday",
    " week",
    " poly",
    "poly",
    "gon",
    " king",
    " queen",
    " said",
    "ing",
    " run",
    "123",
    " house",
    " rain",
    " sea",
    "’s",
    " été",
    "ol",
    " Kar",
    "PDF",
    " each",
]
HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "\u202eevil\u2066",
    "\x00\x1b[31m",
    "[bold red]markup[/]",
    "{{ 7*7 }}{% raw %}",
    "=cmd|'/c calc'!A1",
    "x" * 5000,
    '"><svg onload=alert(2)>',
    "</title></style><!--",
    "\u2028\ufeff",
]


class StandIn:
    """Answers what `StoreReader` asks; every table can be taken away."""

    def __init__(
        self,
        seed=0,
        layers=(2, 5),
        neurons=12,
        k=4,
        hostile=False,
        stages=("similarity", "perturbation", "summary", "verdict"),
    ):
        self.rng = np.random.default_rng(seed)
        pieces = [t.encode() for t in VOCABULARY] + [b"\xe2\x82", b"\xac"]
        pieces += [t.encode() for t in HOSTILE] if hostile else []
        special = np.zeros(len(pieces), dtype=bool)
        special[0] = True
        self.vocabulary = Vocabulary(pieces, special)
        self.layers = list(layers)
        self.neurons, self.k, self.hostile = neurons, k, hostile
        name = HOSTILE[0] + HOSTILE[1] if hostile else "standin-1m"
        self.manifest = {
            "subject": {
                "name": name,
                "path": f"/models/{name}",
                "sha256": "ab" * 32,
                "n_layers": 6,
                "d_mlp": [neurons] * 6,
            },
            "tokenizer": {"sha256": "cd" * 32},
            "corpus": {"path": name, "rows_sha256": "ef" * 32, "documents": 12},
            "config": {"row_length": 64, "k": k, "nothing": float("nan"), "ghost": "\udc80"},
            "rows": 1234,
            "tokens": 78976,
            "complete": True,
        }
        self.lists = {
            (n, i, s): self._examples(s) for n in layers for i in range(neurons) for s in ("largest", "smallest")
        }
        self.tables = {
            (s, n): self._table(s, n) for n in layers for s in ("similarity", "perturbation", "summary") if s in stages
        }
        for n in layers if "verdict" in stages else ():
            peaks = [peak_words(self.lists[n, i, "largest"], self.vocabulary) for i in range(neurons)]
            evidence = [self.tables.get((s, n)) for s in ("similarity", "perturbation")]
            self.tables["verdict", n] = verdict(self.statistics(n), *evidence, peaks=peaks, config=VerdictConfig())

    def n_neurons(self, layer):
        return self.neurons

    def examples(self, layer, neuron, side="largest"):
        return self.lists[layer, neuron, side]

    def example_lists(self, layer, side="largest"):
        return [self.lists[layer, neuron, side] for neuron in range(self.neurons)]

    def statistics(self, layer):
        n = self.neurons
        rng = np.random.default_rng(layer)
        whole = np.stack([rng.integers(0, 900, n), rng.integers(900, 9000, n)])
        top = rng.uniform(1, 9, n).astype(np.float32)
        if n > 3:
            top[3] = 0
        bad = np.zeros(n, dtype=np.int64)
        low = np.where(top > 0, -1, 0).astype(np.float32)
        return Statistics(1000, whole, np.zeros((2, n), dtype=np.int64), low, top, rng.integers(0, 1000, n), bad)

    def evidence(self, stage, layer, side="largest"):
        return self.tables.get((stage, layer)) if side == "largest" else None

    def inputs(self, stage, layer, side="largest"):
        return (
            {"config": {"seed": 0, "nothing": float("nan")}} if self.evidence(stage, layer, side) is not None else None
        )

    def _examples(self, side):
        rng, made = self.rng, []
        sign = 1 if side == "largest" else -1
        favourites = rng.integers(1, len(self.vocabulary.tokens), 3)
        for rank in range(self.k):
            size = int(rng.integers(1, 24))
            tokens = rng.integers(1, len(self.vocabulary.tokens), size)
            tokens[0] = 0
            peak = size - 1 if size < 4 else size - 3
            tokens[peak] = rng.choice(favourites)
            values = rng.normal(0, 0.4, size).astype(np.float32)
            values[peak] = sign * (9 - rank)
            made.append(Example(rank, 100 * rank + 7, 30 + peak, float(values[peak]), 30, tokens, values))
        return made

    def _table(self, stage, layer):
        rng, n = self.rng, self.neurons
        neuron = rng.permutation(n)[: n * 3 // 4].astype(np.int64)
        m = len(neuron)
        share = lambda: rng.random(m).astype(np.float32)  # noqa: E731
        if stage == "similarity":
            z = rng.normal(3, 4, m).astype(np.float32)
            z[m // 2 :][:1] = np.nan
            counts = rng.integers(1, 9, m)
            return SimilarityTable(
                neuron,
                share(),
                counts,
                counts,
                share(),
                share() / 4,
                share() / 9,
                z,
                (share() / 9).astype(np.float64),
                (share() / 9).astype(np.float64),
                share() > 0.5,
            )
        if stage == "summary":
            texts = ["days of the week", "royal titles", "", "shapes", "=1+1 sums"]
            texts = HOSTILE if self.hostile else texts
            said = [texts[i % len(texts)] for i in range(m)]
            return SummaryTable(neuron, said, ["llm"] * m, ["?"] * m, ["!"] * m, share())
        subs = SubstituteTable(
            np.repeat(neuron, 4),
            np.zeros(4 * m, dtype=np.int32),
            ["original", "neighbour", "control", "neighbour"] * m,
            [" Monday", " Tuesday", " rain", HOSTILE[0] if self.hostile else " Friday"] * m,
            np.zeros(4 * m, dtype=np.float32),
            np.tile([4.0, 3.0, 0.2, 4.4], m).astype(np.float32),
        )
        counts = np.full(m, 4, dtype=np.int32)
        return PerturbationTable(
            neuron,
            counts,
            counts,
            share(),
            share(),
            share() / 3,
            share() / 3,
            share(),
            share() / 3,
            share(),
            (share() / 9).astype(np.float64),
            (share() / 9).astype(np.float64),
            share(),
            subs,
        )


@pytest.fixture
def stand_in():
    """The class, to be called with what the test needs."""
    return StandIn


@pytest.fixture
def golden():
    """Compare a text with a file under golden/; NEUROLOCAL_GOLDEN=write writes the file instead."""

    def check(name, text):
        path = Path(__file__).parent / "golden" / name
        if os.environ.get("NEUROLOCAL_GOLDEN") == "write":
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
        assert text == path.read_bytes().decode(), f"{name} changed; if that is meant, run with NEUROLOCAL_GOLDEN=write"

    return check
