"""Comparisons within one evidence table: its figures lie where their definitions in `tables` put them.

Invariant: a table that a stage wrote has no fault: a figure that was not measured is NaN, and rounding to float32 is
allowed for. Columns of stages that are not known here are not compared. Cost: a few passes over the columns.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neurolocal.store.faults import Faults
from neurolocal.tables import PerturbationTable, ScoreTable, SimilarityTable, VerdictTable

SHARE, COSINE, COUNT = (0.0, 1.0), (-1.0, 1.0), (0, math.inf)

RANGES: dict[type, dict[str, tuple[float, float]]] = {
    SimilarityTable: {
        **dict.fromkeys(("p", "q", "form_p", "form_q", "phrase_p", "phrase_q", "document_p"), SHARE),
        **dict.fromkeys(("repetition", "token_repetition", "form_share"), SHARE),
        **dict.fromkeys(("score", "null_mean", "phrase_score", "document_score"), COSINE),
        **dict.fromkeys(("n_words", "n_known", "n_tokens"), COUNT),
        "null_sd": SHARE,
    },
    PerturbationTable: {
        **dict.fromkeys(("p", "q", "auc", "held", "half", "control_held", "control_half"), SHARE),
        **dict.fromkeys(("variant_half", "form_half", "spelled_half", "reach_half", "elsewhere_half"), SHARE),
        **dict.fromkeys(("n_examples", "n_neighbours", "n_controls", "n_reach"), COUNT),
        "dose": COSINE,
    },
    VerdictTable: {"score": SHARE},
    ScoreTable: {
        **dict.fromkeys(("value", "low", "high", "control"), COSINE),
        "n": COUNT,
        "against": (-1, math.inf),
    },
}
"""Table -> column -> the smallest and the largest value that it can have."""

SLACK = 1e-4
"""Rounding of a figure beyond its range."""


def check_evidence(place: str, table: Any, faults: Faults) -> None:
    """Check one table.

    Args:
        place: its group, `{stage}/{site}/{layer}/{side}`.
        table: of a type in `records.TABLES`.
        faults: receives what is wrong.
    """
    for column, (low, high) in RANGES.get(type(table), {}).items():
        values = getattr(table, column)
        out = (values < low - SLACK) | (values > high + SLACK)
        expected = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}, or NaN"
        faults.where(f"{place}/{column}", out, expected, what="entries beyond", axes=("entry",))
    if isinstance(table, SimilarityTable):
        _check_z(place, table, faults)
    if isinstance(table, VerdictTable):
        _check_ranks(place, table, faults)


def _check_z(place: str, table: SimilarityTable, faults: Faults) -> None:
    """z is infinite only where the null has no spread."""
    off = np.isinf(table.z) & ~(table.null_sd == 0)
    faults.where(f"{place}/z", off, "finite where null_sd is above 0", what="entries that are infinite",
                 axes=("entry",))  # fmt: skip


def _check_ranks(place: str, table: VerdictTable, faults: Faults) -> None:
    """Every neuron has a score, and the ranks number the neurons from 0 by descending score."""
    faults.where(f"{place}/score", np.isnan(table.score), "a score of every neuron", what="entries that are NaN",
                 axes=("entry",))  # fmt: skip
    order = np.argsort(table.rank, kind="stable")
    if not np.array_equal(table.rank[order], np.arange(len(order))):
        faults.add(f"{place}/rank", "ranks that are no numbering", f"0 to {len(order) - 1}, each once")
        return
    falls = np.diff(table.score[order].astype(np.float64)) > 0
    faults.where(f"{place}/rank", falls, "the higher score first", what="ranks out of order", axes=("rank",))
