"""A store made by hand: the reading side of `Store` over random but seeded data, hostile on request."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tables import filled

from neurolocal.config import VerdictConfig
from neurolocal.records import (
    BINS,
    Example,
    LogitEffects,
    PerturbationTable,
    SimilarityTable,
    Statistics,
    SubstituteTable,
    SummaryTable,
)
from neurolocal.verdict.table import verdict_table
from neurolocal.words import Vocabulary
from neurolocal.words.peaks import peak_words

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
    """Answers what `Store` asks; every table can be taken away."""

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
        self.n_neurons, self.k, self.hostile = neurons, k, hostile
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
            peaks = [Counter(peak_words(self.lists[n, i, "largest"], self.vocabulary)) for i in range(neurons)]
            evidence = [self.tables.get((s, n)) for s in ("similarity", "perturbation")]
            self.tables["verdict", n] = verdict_table(
                self.statistics(n), *evidence, peaks=peaks, config=VerdictConfig()
            )

    def neurons(self, layer):
        return np.arange(self.n_neurons)

    def cases(self, layer):
        return None

    def logit_effects(self, layer):
        rng = np.random.default_rng(layer)
        tokens = rng.integers(1, len(VOCABULARY), (2, self.n_neurons, 3)).astype(np.int32)
        effects = -np.sort(-rng.uniform(0.1, 2, (2, self.n_neurons, 3)).astype(np.float32), axis=2)
        return LogitEffects(tokens[0], effects[0], tokens[1], -effects[1])

    @property
    def subset_names(self):
        return ("", HOSTILE[0] if self.hostile else "Pile-CC")

    def subsets(self, layer, side="largest"):
        return np.tile(np.array([0.25, 0.75], np.float32), (self.n_neurons, 1))

    def examples(self, layer, neuron, side="largest"):
        return self.lists[layer, neuron, side]

    def example_lists(self, layer, side="largest"):
        return [self.lists[layer, neuron, side] for neuron in range(self.n_neurons)]

    def statistics(self, layer):
        n = self.n_neurons
        rng = np.random.default_rng(layer)
        whole = np.stack([rng.integers(0, 900, n), rng.integers(900, 9000, n)])
        whole = np.concatenate([whole, whole * np.array([[3], [9]])])
        top = rng.uniform(1, 9, n).astype(np.float32)
        if n > 3:
            top[3] = 0
        bad = np.zeros(n, dtype=np.int64)
        low = np.where(top > 0, -1, 0).astype(np.float32)
        positive = rng.integers(0, 1000, n)
        return Statistics(
            count=1000,
            whole=whole,
            fraction=np.zeros((4, n), dtype=np.int64),
            minimum=low,
            maximum=top,
            positive=positive,
            above=np.stack([positive // 2**i for i in range(1, 5)]),
            nonfinite=bad,
            sampled=0,
            histogram=np.zeros((n, BINS), np.int64),
        )

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
        rng, n = self.rng, self.n_neurons
        neuron = rng.permutation(n)[: n * 3 // 4].astype(np.int64)
        m = len(neuron)
        share = lambda: rng.random(m).astype(np.float32)  # noqa: E731
        if stage == "similarity":
            z = rng.normal(3, 4, m).astype(np.float32)
            z[m // 2 :][:1] = np.nan
            counts = rng.integers(1, 9, m)
            return filled(
                SimilarityTable, neuron, score=share(), n_words=counts, n_known=counts, repetition=share(),
                null_mean=share() / 4, null_sd=share() / 9, z=z, p=share() / 9, q=share() / 9, kept=share() > 0.5,
                form=["", "end ing", "begin un"] * (m // 3) + [""] * (m % 3), form_share=share(), form_p=share() / 9,
                form_q=share() / 9, phrase_score=share(), phrase_z=z + 1, phrase_p=share() / 9, phrase_q=share() / 9,
            )  # fmt: skip
        if stage == "summary":
            texts = ["days of the week", "royal titles", "", "shapes", "=1+1 sums"]
            texts = HOSTILE if self.hostile else texts
            said = [texts[i % len(texts)] for i in range(m)]
            return SummaryTable(neuron, said, ["llm"] * m, ["?"] * m, ["!"] * m, share(), [""] * m, [""] * m)
        subs = SubstituteTable(
            np.repeat(neuron, 4),
            np.zeros(4 * m, dtype=np.int32),
            ["original", "neighbour", "control", "neighbour"] * m,
            [" Monday", " Tuesday", " rain", HOSTILE[0] if self.hostile else " Friday"] * m,
            np.zeros(4 * m, dtype=np.float32),
            np.tile([4.0, 3.0, 0.2, 4.4], m).astype(np.float32),
        )
        counts = np.full(m, 4, dtype=np.int32)
        half = {f"{name}_half": share() for name in ("variant", "form", "spelled", "reach", "elsewhere")}
        return filled(
            PerturbationTable, neuron, n_examples=counts, n_neighbours=counts, held=share(), half=share(),
            control_held=share() / 3, control_half=share() / 3, relative=share(), control_relative=share() / 3,
            auc=share(), p=share() / 9, q=share() / 9, score=share(), substitutes=subs, n_controls=counts,
            grade1=share(), grade2=share() / 2, grade3=share() / 3, dose=share(), n_reach=counts, alone=share(), **half,
        )  # fmt: skip


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
