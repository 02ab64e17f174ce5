"""A small made-up collection with every kind of dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
from tables import filled

from neurolocal import records
from neurolocal.corpus.cursor import Piece, rest_arrays
from neurolocal.intervention.table import ChangedTokenTable, ChangeTable, InterventionTable
from neurolocal.meanings.table import MeaningsTable, MemberTable, PartTable
from neurolocal.provenance import Parts
from neurolocal.records import (
    BINS,
    CASES,
    N_BANDS,
    SIDES,
    THRESHOLDS,
    Bands,
    CaseStatistics,
    LayerRecord,
    LogitEffects,
    Sample,
    Statistics,
    TopK,
)
from neurolocal.store import StoreContent, StoredRows
from neurolocal.tables import PartScoreTable
from neurolocal.words import Vocabulary

ENTRIES = 2
BEFORE, AFTER, K, NEURONS, ROWS, LENGTH, SAMPLE, COUNT, SAMPLED = 3, 2, 3, 4, 5, 9, 6, 45, 20


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
        count=COUNT,
        whole=rng.integers(-9, 9, (4, neurons)),
        fraction=rng.integers(0, 1 << 60, (4, neurons)),
        minimum=rng.normal(size=neurons).astype(np.float32),
        maximum=rng.normal(size=neurons).astype(np.float32),
        positive=rng.integers(0, COUNT, neurons),
        above=rng.integers(0, COUNT, (len(THRESHOLDS), neurons)),
        nonfinite=rng.integers(0, 2, neurons),
        sampled=SAMPLED,
        histogram=rng.multinomial(SAMPLED - 2, np.full(BINS, 1 / BINS), neurons),
    )


def record(
    rng: np.random.Generator, *, sample: int = SAMPLE, cases: bool = False,
    neurons: np.ndarray | None = None, effects: bool = False,
) -> LayerRecord:  # fmt: skip
    """Any layer, with or without what it may lack."""
    n = NEURONS if neurons is None else len(neurons)
    drawn = rng.normal(size=(n, sample)).astype(np.float32)
    drawn[rng.random(drawn.shape) < 0.1] = np.nan
    counts = rng.integers(0, 9, (4, n)), rng.integers(-9, 9, (4, n)), rng.integers(0, 1 << 60, (4, n))
    ids, logits = rng.integers(0, 4, (2, n, 2)).astype(np.int32), rng.normal(size=(2, n, 2)).astype(np.float32)
    return LayerRecord(
        {side: top(rng, n) for side in (*SIDES, *(CASES if cases else ()))},
        statistics(rng, n),
        drawn,
        cases=CaseStatistics(*counts) if cases else None,
        neurons=neurons,
        effects=LogitEffects(ids[0], logits[0], ids[1], logits[1]) if effects else None,
        bands=bands(n),
    )


def bands(neurons: int = NEURONS) -> Bands:
    """Any bands, the same each time."""
    rng = np.random.default_rng(1)
    count = rng.integers(0, 4, (neurons, N_BANDS))
    used = np.arange(ENTRIES) < count[:, :, None]
    row, position = rng.integers(0, ROWS, used.shape), rng.integers(0, 3, used.shape)
    activation = np.where(used, rng.random(used.shape), np.nan).astype(np.float32)
    return Bands(activation, np.where(used, row, -1), np.where(used, position, -1).astype(np.int32), count)


def rest_of(rng: np.random.Generator) -> dict[str, Any]:
    """Text between two batches: two documents, of the second the characters unknown."""
    characters = np.array([0, 2, 2]), np.array([-1, -1])
    return rest_arrays(
        Piece(rng.integers(0, 4, len(c)).astype(np.int32), c.astype(np.int64), i, 7 * i, ["", "\u00e9"][i])
        for i, c in enumerate(characters)
    )


def parts_of(rng: np.random.Generator, rows: int = ROWS) -> Parts:
    """One or two documents a row."""
    two = rng.random(rows) < 0.5
    numbers = [(i, at) for i in range(rows) for at in ((0, 2) if two[i] else (0,))]
    names = ["", "ArXiv", "\u00e9\n", "\x00"]
    return Parts.of(
        np.cumsum(1 + two).tolist(),
        [(at, i, i + at, int(rng.integers(-1, 9)), names[rng.integers(0, 4)]) for i, at in numbers],
    )


def made_up(
    rng: np.random.Generator, *, layers: tuple[int, ...] = (0, 2), sites: tuple[records.Site, ...] = ("post",),
    vocabulary: Vocabulary | None = None, token_count: np.ndarray | None = None, rows: StoredRows | None = None,
    rest: dict[str, Any] | None = None, sample: int = SAMPLE, **more,
) -> StoreContent:  # fmt: skip
    """A collection of two layers; `more` goes to `record`."""
    places = np.sort(rng.choice(ROWS * 3, sample, replace=False)) if rows is None else np.empty(0, np.int64)
    if rows is None:
        tokens, length = rng.integers(0, 4, (ROWS, LENGTH)), rng.integers(3, LENGTH + 1, ROWS)
        rows = StoredRows(tokens, length, np.arange(ROWS, dtype=np.int64), parts_of(rng).columns())
    kept, rest = rows, rest_of(rng) if rest is None else rest
    manifest = {
        "subject": {"sha256": "a"}, "tokenizer": {"sha256": "b"}, "corpus": {"files": [], "n_files": 0},
        "config": {"sites": list(sites), "before": BEFORE, "after": AFTER, "bands": ENTRIES},
        "rows": ROWS, "tokens": 40,
        "complete": not rest,
    }  # fmt: skip
    return StoreContent(
        manifest=manifest,
        layers=[((site, layer), record(rng, sample=len(places), **more)) for site in sites for layer in layers],
        sample=Sample((places // 3).astype(np.int64), (places % 3).astype(np.int32)),
        rows=lambda: kept,
        token_count=rng.integers(0, 9, 4) if token_count is None else token_count,
        vocabulary=vocabulary
        or Vocabulary([b"", b"a\x00b", b" \xff", "\u00e9".encode()], np.array([True, False, False, False])),
        rest=rest,
    )


def verdict_table(n: int = 3) -> records.VerdictTable:
    """A verdict for the first n neurons."""
    return records.VerdictTable(
        np.arange(n),
        ["concept", "dead", "unclear"][:n],
        np.linspace(1, 0, n, dtype=np.float32),
        np.arange(n),
        ["why"] * n,
    )


def rows_of(made: StoreContent) -> StoredRows:
    """Its rows, which are in memory."""
    rows = made.rows()
    assert isinstance(rows, StoredRows)
    return rows


def evidence(rng: np.random.Generator) -> list[tuple[Any, ...]]:
    """A table of every stage, for layer 2."""
    two, f = np.array([0, 3]), lambda: rng.normal(size=2).astype(np.float32)
    i32 = np.array([2, 1], np.int32)
    subs = records.SubstituteTable(
        np.array([0, 3, 3, 3]), np.zeros(4, np.int32), ["original", "original", "control", "control"],
        [" a", "\x00", "é", "b"], np.ones(4, np.float32), np.array([1, np.nan, 3, 4], np.float32),
    )  # fmt: skip
    tables = {
        "similarity": filled(
            records.SimilarityTable,
            [0, 3],
            score=f(),
            n_words=two,
            n_known=two,
            z=f(),
            p=[0.5, np.nan],
            q=[0.5, np.nan],
            kept=[True, False],
            form=["", "end é"],
        ),
        "perturbation": filled(
            records.PerturbationTable, [0, 3], n_examples=i32, half=f(), p=rng.random(2), dose=f(), substitutes=subs
        ),
        "summary": records.SummaryTable(
            two,
            ["days", ""],
            ["llm", "counts"],
            ["?", ""],
            ["!\n", ""],
            f(),
            ["days\t1.0", ""],
            ["", "é"],
            ["1\tdays\n2\té", ""],
        ),
        "score": filled(
            records.ScoreTable,
            [0, 0, 3],
            measure=["detection_auprc", "firing_f1", "firing_f1"],
            value=[0.5, np.nan, 1],
            against=[3, 3, -1],
            said=["", "it fires nowhere", ""],
            texts=filled(
                records.ScoredTextTable, [0, 0], task=["detection", "fuzzing"], row=[0, 1], fires=[True, False]
            ),
            parts=filled(PartScoreTable, [0, 0], part=[1, 2], measure=["embedding_auc"] * 2, value=[0.5, 1], n=[3, 4]),
        ),
        "verdict": verdict_table(),
        "meanings": filled(
            MeaningsTable,
            [0, 3],
            n_parts=[2, 0],
            p=rng.random(2),
            parts=filled(PartTable, [0, 0], part=[1, 2], words=["one\ntwo", "é"], n_examples=[2, 1]),
            members=filled(MemberTable, [0, 0, 0], rank=[0, 1, 2], part=[2, 1, 1]),
        ),
        "intervention": filled(
            InterventionTable,
            [0, 3],
            strongest=f(),
            zero_kl=[0.1, np.nan],
            zero_p=[0.5, np.nan],
            agreement=f(),
            changes=filled(ChangeTable, [0, 3], text=["own", "random"], change=["zero", "x3"], places=i32, kl=f()),
            tokens=filled(ChangedTokenTable, [0, 0], change=["zero", "x3"], token=[2, 1], difference=f()),
        ),
    }
    return [(stage, 2, "largest", table, {"config": {"k": stage}}) for stage, table in tables.items()]
