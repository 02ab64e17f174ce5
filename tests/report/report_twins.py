"""A small made-up store: random but seeded examples and evidence, hostile on request.

Every example has a row of its own, so the windows and the stored rows agree. The activation of a neuron is 0 in the
rows of the other neurons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from tables import filled

from neurolocal.config import VerdictConfig
from neurolocal.provenance import Parts
from neurolocal.records import (
    BINS,
    SIDES,
    THRESHOLDS,
    Example,
    LayerRecord,
    LogitEffects,
    PerturbationTable,
    Sample,
    Side,
    SimilarityTable,
    Statistics,
    SubstituteTable,
    SummaryTable,
    TopK,
    histogram_edges,
)
from neurolocal.store import StoreContent, StoredRows, add_evidence, write_collected
from neurolocal.verdict.table import verdict_table
from neurolocal.words import Vocabulary
from neurolocal.words.peaks import peak_words

VOCABULARY = [
    *("<|endoftext|>", " the", " a", " of", " and", ",", ".", "\n", " Monday", " Tuesday", " Friday", " week", " poly"),
    *("poly", "gon", " king", " queen", " said", "ing", " run", "123", " house", " rain", " sea", "’s", " été", "ol"),
    *(" Kar", "PDF", " each"),
]
"""Texts of the tokens; the first is special. Two tokens that form one character together follow."""

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
"""Texts that attack a browser, a terminal, a template or a spreadsheet."""

BEFORE, AFTER, DEAD = 12, 2, 3
"""The window; the neuron that is dead in every layer."""

STAGES = ("similarity", "perturbation", "summary", "verdict")


class SmallStore:
    """The content of a small store, in memory; `write` makes the file."""

    def __init__(
        self,
        *,
        seed: int = 0,
        layers: Sequence[int] = (2, 5),
        neurons: int = 12,
        k: int = 4,
        hostile: bool = False,
        stages: Sequence[str] = STAGES,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.layers, self.n_neurons, self.k, self.hostile, self.stages = layers, neurons, k, hostile, stages
        pieces = [text.encode() for text in VOCABULARY] + [b"\xe2\x82", b"\xac"]
        pieces += [text.encode() for text in HOSTILE] if hostile else []
        self.vocabulary = Vocabulary(pieces, np.arange(len(pieces)) == 0)
        self.rows: list[tuple[np.ndarray, np.ndarray, int]] = []  # tokens, activations, position of the peak
        self.examples: dict[tuple[int, int, Side], list[Example]] = {
            (layer, neuron, side): self._examples(neuron, side)
            for layer in layers
            for neuron in range(neurons)
            for side in SIDES
        }
        self.tables = [(stage, layer) for layer in layers for stage in STAGES[:3] if stage in stages]
        self.evidence = {(stage, layer): self._table(stage) for stage, layer in self.tables}
        for layer in layers if "verdict" in stages else ():
            self.evidence["verdict", layer] = self._verdict(layer)

    def write(self, path: Path) -> Path:
        """Write the store to a file."""
        rows, tokens = self._stored_rows(), [row for row, _, _ in self.rows]
        write_collected(
            path,
            StoreContent(
                self._manifest(),
                layers=[(("post", layer), self._record(layer)) for layer in self.layers],
                sample=Sample(np.empty(0, np.int64), np.empty(0, np.int32)),
                rows=lambda: rows,
                token_count=np.bincount(np.concatenate([[0], *tokens])[1:], minlength=len(self.vocabulary.tokens)),
                vocabulary=self.vocabulary,
            ),
        )
        inputs = {"config": {"seed": 0, "nothing": float("nan")}}
        side: Side = "largest"
        add_evidence(path, [(*place, side, table, inputs) for place, table in self.evidence.items()], site="post")
        return path

    def _manifest(self) -> dict[str, Any]:
        name = HOSTILE[0] + HOSTILE[1] if self.hostile else "small-1m"
        return {
            "subject": {
                "name": name,
                "path": f"/models/{name}",
                "sha256": "ab" * 32,
                "n_layers": 6,
                "d_mlp": [self.n_neurons] * 6,
            },
            "tokenizer": {"sha256": "cd" * 32},
            "corpus": {"path": name, "rows_sha256": "ef" * 32, "documents": 12},
            "config": {
                "row_length": 23,
                "layers": list(self.layers),
                "k": self.k,
                "sites": ["post"],
                "before": BEFORE,
                "after": AFTER,
                "nothing": float("nan"),
                "ghost": "\udc80",
            },
            "rows": len(self.rows),
            "tokens": self._count(),
            "complete": True,
        }

    def _stored_rows(self) -> StoredRows:
        n = len(self.rows)
        tokens = np.zeros((n, 23), np.int64)
        for i, (row, _, _) in enumerate(self.rows):
            tokens[i, : len(row)] = row
        subset = HOSTILE[0] if self.hostile else "Pile-CC"
        parts = Parts.of(range(1, n + 1), [(0, 0, i, 0, subset if i % self.k else "") for i in range(n)])
        lengths = np.array([len(row) for row, _, _ in self.rows], np.int64)
        return StoredRows(tokens, lengths, np.arange(n, dtype=np.int64), parts.columns())

    def _record(self, layer: int) -> LayerRecord:
        n = self.n_neurons
        rng = np.random.default_rng(layer)
        tokens = rng.integers(1, len(VOCABULARY), (2, n, 3)).astype(np.int32)
        effects = -np.sort(-rng.uniform(0.1, 2, (2, n, 3)).astype(np.float32), axis=2)
        return LayerRecord(
            {side: self._lists(layer, side) for side in SIDES},
            self.statistics(layer),
            np.empty((n, 0), np.float32),
            effects=LogitEffects(tokens[0], effects[0], tokens[1], -effects[1]),
        )

    def _lists(self, layer: int, side: Side) -> TopK:
        shape = (self.n_neurons, self.k)
        lists = TopK(
            np.full(shape, np.nan, np.float32),
            np.full(shape, -1, np.int64),
            np.full(shape, -1, np.int32),
            np.full((*shape, BEFORE + 1 + AFTER), np.nan, np.float32),
        )
        for neuron in range(self.n_neurons):
            for e in self.examples[layer, neuron, side]:
                first = e.start - (e.position - BEFORE)
                lists.activation[neuron, e.rank] = e.activation
                lists.row[neuron, e.rank], lists.position[neuron, e.rank] = e.row, e.position
                lists.window[neuron, e.rank, first : first + len(e.activations)] = e.activations
        return lists

    def statistics(self, layer: int) -> Statistics:
        """The exact statistics of a layer over the stored rows."""
        n, count = self.n_neurons, self._count()
        values = [
            np.concatenate([np.zeros(1), *(self.rows[e.row][1] for s in SIDES for e in self.examples[layer, i, s])])
            for i in range(n)
        ]
        scale = {1: 2**60, 2: 2**60, 3: 2**60, 4: 2**60 // 65536}
        sums = [[int(Fraction(float((v**power).sum())) * scale[power]) for v in values] for power in scale]
        above = [[int((v > level).sum()) for v in values] for level in (0.0, *THRESHOLDS)]
        return Statistics(
            count=count,
            whole=np.array([[total >> 60 for total in row] for row in sums], np.int64).reshape(4, n),
            fraction=np.array([[total % 2**60 for total in row] for row in sums], np.int64).reshape(4, n),
            minimum=np.array([v.min() for v in values], np.float32),
            maximum=np.array([v.max() for v in values], np.float32),
            positive=np.array(above[0], np.int64),
            above=np.array(above[1:], np.int64).reshape(len(THRESHOLDS), n),
            nonfinite=np.zeros(n, np.int64),
            sampled=count,
            histogram=np.array([self._histogram(v) for v in values], np.int64).reshape(n, BINS),
        )

    def _histogram(self, values: np.ndarray) -> list[int]:
        """Values a bin, one by one; a bin holds its edge that is nearer to 0."""
        edges, counts = histogram_edges(), [0] * BINS
        for v in values:
            low, high = (edges[:-1] <= v, v < edges[1:]) if v >= 0 else (edges[:-1] < v, v <= edges[1:])
            counts[int(np.flatnonzero(low & high)[0])] += 1
        counts[BINS // 2] += self._count() - len(values)  # the neuron is silent in the rows of the others
        return counts

    def _count(self) -> int:
        return sum(len(row) for row, _, _ in self.rows)

    def _examples(self, neuron: int, side: Side) -> list[Example]:
        """Examples that peak on one of three tokens, each in a new row that begins with the special token."""
        rng = self.rng
        sign = (1 if side == "largest" else -1) * (1e-8 if neuron == DEAD else 1)
        favourites = rng.integers(1, len(self.vocabulary.tokens), 3)
        made = []
        for rank in range(self.k):
            size = int(rng.integers(1, 24))
            tokens = rng.integers(1, len(self.vocabulary.tokens), size)
            tokens[0] = 0
            peak = size - 1 if size < 4 else size - 3
            tokens[peak] = rng.choice(favourites)
            values = (rng.normal(0, 0.4, size) * abs(sign)).astype(np.float32)
            values[peak] = sign * (9 - rank)
            window = slice(max(peak - BEFORE, 0), peak + AFTER + 1)
            number = len(self.rows)
            self.rows.append((tokens, values, peak))
            made.append(Example(rank, number, peak, float(values[peak]), window.start, tokens[window], values[window]))
        return made

    def _verdict(self, layer: int) -> Any:
        peaks = [
            Counter(peak_words(self.examples[layer, i, "largest"], self.vocabulary)) for i in range(self.n_neurons)
        ]
        evidence = [self.evidence.get((stage, layer)) for stage in ("similarity", "perturbation")]
        return verdict_table(self.statistics(layer), *evidence, peaks=peaks, config=VerdictConfig())

    def _table(self, stage: str) -> Any:
        """A table of three quarters of the neurons, in random order."""
        rng, n = self.rng, self.n_neurons
        neuron = rng.permutation(n)[: n * 3 // 4].astype(np.int64)
        return {"similarity": self._similarity, "perturbation": self._perturbation, "summary": self._summary}[stage](
            neuron
        )

    def _shares(self, n: int) -> np.ndarray:
        return self.rng.random(n).astype(np.float32)

    def _similarity(self, neuron: np.ndarray) -> SimilarityTable:
        m, rng = len(neuron), self.rng
        z = rng.normal(3, 4, m).astype(np.float32)
        z[m // 2 :][:1] = np.nan
        counts = rng.integers(1, 9, m)
        share = lambda: self._shares(m)  # noqa: E731
        return filled(
            SimilarityTable, neuron.tolist(), score=share(), n_words=counts, n_known=counts, repetition=share(),
            null_mean=share() / 4, null_sd=share() / 9, z=z, p=share() / 9, q=share() / 9, kept=share() > 0.5,
            form=["", "end ing", "begin un"] * (m // 3) + [""] * (m % 3), form_share=share(), form_p=share() / 9,
            form_q=share() / 9, phrase_score=share(), phrase_z=z + 1, phrase_p=share() / 9, phrase_q=share() / 9,
        )  # fmt: skip

    def _summary(self, neuron: np.ndarray) -> SummaryTable:
        m = len(neuron)
        texts = HOSTILE if self.hostile else ["days of the week", "royal titles", "", "shapes", "=1+1 sums"]
        descriptions = [texts[i % len(texts)] for i in range(m)]
        blank = [""] * m
        return SummaryTable(
            neuron, descriptions, ["llm"] * m, ["?"] * m, ["!"] * m, self._shares(m), blank, blank, blank
        )

    def _perturbation(self, neuron: np.ndarray) -> PerturbationTable:
        m = len(neuron)
        substitutes = SubstituteTable(
            np.repeat(neuron, 4),
            np.zeros(4 * m, dtype=np.int32),
            ["original", "neighbour", "control", "neighbour"] * m,
            [" Monday", " Tuesday", " rain", HOSTILE[0] if self.hostile else " Friday"] * m,
            np.zeros(4 * m, dtype=np.float32),
            np.tile([4.0, 3.0, 0.2, 4.4], m).astype(np.float32),
        )
        counts = np.full(m, 4, dtype=np.int32)
        share = lambda: self._shares(m)  # noqa: E731
        half = {f"{name}_half": share() for name in ("variant", "form", "spelled", "reach", "elsewhere")}
        return filled(
            PerturbationTable, neuron.tolist(), n_examples=counts, n_neighbours=counts, held=share(), half=share(),
            control_held=share() / 3, control_half=share() / 3, relative=share(), control_relative=share() / 3,
            auc=share(), p=share() / 9, q=share() / 9, score=share(), substitutes=substitutes, n_controls=counts,
            grade1=share(), grade2=share() / 2, grade3=share() / 3, dose=share(), n_reach=counts, alone=share(), **half,
        )  # fmt: skip
