"""Substitutes as shares of the original activation."""

from dataclasses import replace
from math import isnan

import numpy as np
import pytest

from neurolocal.records import SubstituteTable
from neurolocal.report.layer import read_layer
from neurolocal.report.replacements import lowering, raising, replacements
from neurolocal.store import Store, add_evidence

TABLE = [
    # neuron, rank, kind, word, activation
    (0, 0, "original", " day", 4),
    (0, 0, "neighbour", " week", 1),
    (0, 1, "original", " month", 2),
    (0, 1, "neighbour", "week", 1),
    (0, 0, "control", " rain", 1),
    (0, 2, "neighbour", " orphan", 9),
    (1, 0, "neighbour", " other", 9),
    (0, 1, "neighbour", " year", 3),
    (0, 0, "reach", " epoch", 0.4),
]


@pytest.fixture
def read(small_store):
    """A layer with the table above."""
    small = small_store()
    neuron, rank, kind, word, activation = zip(*TABLE, strict=True)
    substitutes = SubstituteTable(
        np.array(neuron),
        np.array(rank, np.int32),
        list(kind),
        list(word),
        np.zeros(len(TABLE), np.float32),
        np.array(activation, np.float32),
    )
    table = replace(small.evidence("perturbation", 2), neuron=np.arange(9), substitutes=substitutes)
    add_evidence(small.path, [("perturbation", 2, "largest", table, {})], site="post")
    with Store(small.path) as store:
        yield read_layer(store, 2)


def listed(words):
    return [(word.word, round(word.relative, 6)) for word in words if not isnan(word.relative)]


def test_shares_of_the_original_of_the_same_example_strongest_first(read):
    words = replacements(read, 0, "neighbour")
    assert listed(words) == [("year", 1.5), ("week", 0.5)]
    assert [word.word for word in words] == ["year", "week", "orphan"]
    assert isnan(words[-1].relative)


def test_kinds_limit_and_weakest_first(read):
    assert listed(replacements(read, 0, "control")) == [("rain", 0.25)]
    assert listed(replacements(read, 0, "neighbour", "control", limit=2)) == [("year", 1.5), ("week", 0.5)]
    lowest = replacements(read, 0, "neighbour", "control", lowest=True)
    assert [word.word for word in lowest] == ["rain", "week", "year", "orphan"]


def test_raising_and_lowering(read):
    assert listed(raising(read, 0)) == [("year", 1.5)]
    assert listed(lowering(read, 0)) == [("epoch", 0.1)]


def test_a_neuron_without_substitutes_and_a_store_without_the_stage(read, small_store):
    assert replacements(read, 7, "neighbour") == []
    assert replacements(read_layer(small_store(stages=()), 2), 0, "neighbour") == []
