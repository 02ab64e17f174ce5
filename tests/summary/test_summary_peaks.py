from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.records import Neuron, SubstituteTable
from neurolocal.summary.peaks import MAX_CHARS, find_peaks
from neurolocal.words.peaks import count_spellings


def table(*rows: tuple[int, int, str, str, float]) -> SubstituteTable:
    neuron, rank, kind, word, activation = zip(*rows, strict=True)
    n = len(rows)
    return SubstituteTable(
        np.array(neuron, np.int64),
        np.array(rank, np.int32),
        list(kind),
        list(word),
        np.full(n, np.nan, np.float32),
        np.array(activation, np.float32),
    )


def test_odd_ranks_are_dropped_at_the_door(corpus: Any) -> None:
    peaks = find_peaks(corpus.neuron(["iron", "zinc"], odd=["MARKER", "MARKER"]), corpus.vocabulary)
    assert peaks.n == 2
    assert peaks.words == Counter(iron=1, zinc=1)
    assert peaks.str_tokens == Counter({" iron": 1, " zinc": 1})


def test_the_word_around_a_token_is_counted(corpus: Any) -> None:
    example = corpus.example(0, " b", "attle", "s began")
    peaks = find_peaks(Neuron(0, [example]), corpus.vocabulary)
    assert (peaks.distinct, list(peaks.str_tokens)) == (["battles"], ["attle"])


def test_held_substitutes_are_even_neighbours_of_this_neuron_at_the_originals_height(corpus: Any) -> None:
    substitutes = table(
        (3, 0, "original", " iron", 5.0),
        (3, 0, "neighbour", " steel", 5.0),
        (3, 0, "neighbour", " wood", 4.9),
        (3, 0, "neighbour", " Iron", 9.0),
        (3, 0, "control", " cat", 9.0),
        (3, 1, "original", " zinc", 1.0),
        (3, 1, "neighbour", " MARKER", 9.0),
        (4, 0, "neighbour", " other", 9.0),
        (3, 2, "neighbour", " orphan", 9.0),
    )
    neuron = corpus.neuron(["iron"], neuron=3)
    assert find_peaks(Neuron(3, neuron.examples, substitutes), corpus.vocabulary).held == ["steel"]


def test_a_long_token_is_cut(corpus: Any) -> None:
    (word,) = find_peaks(corpus.neuron(["-" * 500]), corpus.vocabulary).distinct
    assert len(word) == MAX_CHARS + 1


@given(st.lists(st.sampled_from(["each", "Each", "EACH", "zinc", "Zinc", "straße", "STRASSE"])))
def test_fold_counts_every_word_once_under_its_commonest_spelling(words: list[str]) -> None:
    counts = count_spellings(words)
    slow: dict[str, list[str]] = {}
    for word in words:
        slow.setdefault(word.casefold(), []).append(word)
    assert sorted(counts.values()) == sorted(len(group) for group in slow.values())
    for word, n in counts.items():
        group = slow[word.casefold()]
        assert n == len(group)
        assert group.count(word) == max(group.count(w) for w in group)
