"""The tables of the stage.

Invariant: the columns of a table have equal length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64


@dataclass(frozen=True)
class PartTable:
    """The parts into which a neuron's examples fall: one row a part, of neurons with two or more."""

    neuron: Int64[np.ndarray, "p"]
    """Index within the layer."""
    part: Int32[np.ndarray, "p"]
    """From 1 on: the part with the most examples first; of equal ones the one with the strongest example."""
    words: list[str]
    """Its distinct peak words, commonest first, one a line."""
    n_examples: Int32[np.ndarray, "p"]
    """Examples in it."""
    cohesion: Float32[np.ndarray, "p"]
    """Mean cosine over pairs of its clustered words."""
    p: Float64[np.ndarray, "p"]
    """Probability that among as many random words of the same frequency a group holds together as well."""


@dataclass(frozen=True)
class MemberTable:
    """Which part each example belongs to: one row an example, of neurons with two parts or more."""

    neuron: Int64[np.ndarray, "e"]
    """Index within the layer."""
    rank: Int32[np.ndarray, "e"]
    """Rank of the example, from 0."""
    part: Int32[np.ndarray, "e"]
    """Its part; 0 where it belongs to none."""


@dataclass(frozen=True)
class MeaningsTable:
    """Has the neuron one meaning or several? One row a neuron of a layer, one side."""

    neuron: Int64[np.ndarray, "n"]
    """Index within the layer."""
    n_words: Int32[np.ndarray, "n"]
    """Distinct content words with a vector among its peak words: those that are clustered."""
    group_p: Float64[np.ndarray, "n"]
    """p of the group of words that holds together best, against the best of as many random words of the same frequency;
    NaN where there are too few words for two parts."""
    n_parts: Int32[np.ndarray, "n"]
    """Parts shown: 0 where the examples are not divided."""
    p: Float64[np.ndarray, "n"]
    """Largest p of its parts; 1 where the words do not fall into parts that lie apart; NaN where it is not asked, since
    no group of its words holds together."""
    q: Float64[np.ndarray, "n"]
    """Benjamini-Hochberg over the neurons of the layer that have a p."""
    parts: PartTable
    """The parts."""
    members: MemberTable
    """The part of each example."""


def ranks_by_part(table: MeaningsTable) -> dict[int, dict[int, int]]:
    """Neuron with several meanings -> rank of an example -> its part; examples in none are left out."""
    found: dict[int, dict[int, int]] = {}
    members = table.members
    for neuron, rank, part in zip(members.neuron.tolist(), members.rank.tolist(), members.part.tolist(), strict=True):
        if part:
            found.setdefault(neuron, {})[rank] = part
    return found
