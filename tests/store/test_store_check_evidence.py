"""Figures that no stage can have written are faults; the tables that the stages wrote have none."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from tables import filled
from test_store_check_layer import change

from neurolocal.records import SimilarityTable
from neurolocal.store import add_evidence
from neurolocal.store.check import check
from neurolocal.store.check_evidence import check_evidence
from neurolocal.store.faults import Faults

RANKS, SCORES = "verdict/post/3/largest/rank", "verdict/post/3/largest/score"


def set_first(value):
    def put(old):
        old[0] = value
        return old

    return put


@pytest.mark.parametrize(
    ("name", "how", "says"),
    [
        (RANKS, set_first(2**62), "ranks that are no numbering; expected 0 to 171, each once"),
        (RANKS, set_first(-1), "ranks that are no numbering"),
        (SCORES, lambda old: np.linspace(0, 1, len(old)), "171 ranks out of order"),
        (SCORES, set_first(np.nan), "1 entries that are NaN, first at entry 0"),
        (SCORES, set_first(np.inf), "1 entries beyond, first at entry 0; expected 0 to 1, or NaN"),
        (SCORES, set_first(-0.5), "1 entries beyond"),
    ],
)
def test_verdicts_that_cannot_be(copy, name, how, says) -> None:
    with h5py.File(copy, "r+") as file:
        change(file, name, how)
    found = [str(fault) for fault in check(copy, progress=False).faults]
    assert any(says in fault and fault.startswith("verdict/post/3/largest") for fault in found), found


def test_a_whole_store_has_no_fault(copy) -> None:
    assert check(copy, progress=False).faults == ()


def similarity(**columns) -> SimilarityTable:
    return filled(SimilarityTable, [0, 1], **columns)


@pytest.mark.parametrize(
    ("columns", "faulty"),
    [
        ({"score": [0.5, 0.1], "null_mean": [0.1, 0.1], "null_sd": [0.2, 0.1], "z": [2.0, 0.0]}, None),
        ({"score": [0.5, np.nan], "null_mean": [0.1, np.nan], "null_sd": [0.2, np.nan], "z": [2.0, np.nan]}, None),
        ({"score": [0.5, 0.5], "null_mean": [0.5, 0.1], "null_sd": [0, 0], "z": [np.nan, np.inf]}, None),
        ({"score": [0.5, 0.1], "null_mean": [0.1, 0.1], "null_sd": [0.2, 0.1], "z": [np.inf, 0.0]}, "z"),
        ({"null_sd": [0.2, 0.1], "z": [-np.inf, 0.0]}, "z"),
        ({"z": [np.inf, np.nan]}, "z"),
        ({"p": [1.5, 0.2]}, "p"),
        ({"q": [-1.0, 0.2]}, "q"),
        ({"n_words": [-1, 2]}, "n_words"),
        ({"score": [np.inf, 0.2]}, "score"),
    ],
)
def test_similarities(columns, faulty) -> None:
    defaults = {key: [np.nan, np.nan] for key in ("score", "null_mean", "null_sd", "z", "p", "q")}
    faults = Faults()
    check_evidence("here", similarity(**defaults | columns), faults)
    assert [fault.place for fault in faults.found] == ([] if faulty is None else [f"here/{faulty}"])


def test_a_table_of_an_unknown_kind_is_not_compared() -> None:
    faults = Faults()
    check_evidence("here", object(), faults)
    assert faults.found == []


def test_evidence_is_looked_at_by_check(copy) -> None:
    table = similarity(p=[7.0, 0.5])
    add_evidence(copy, [("similarity", 3, "largest", table, {})], site="post")
    assert any(fault.place == "similarity/post/3/largest/p" for fault in check(copy, progress=False).faults)
