"""The parts of one neuron: its words in groups that lie apart, each against random words, and the examples of each.

Method, in this order:
1. The group of words that holds together best must beat the best group of as many random words (`group_p`).
2. The words are divided (`groups.divide`) into parts that lie apart.
3. Each part must beat the best group among as many random words as the neuron has without the cores of its other parts;
   p is the largest of these.
So a neuron with one concept and some chance words has a small `group_p` and a large p. Examples in no part then join
the part that they are nearest to, by word and context.
Invariant: depends on the neuron's own examples, the corpus's words, the vectors and the config. Cost: see `null`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from neurolocal.config import MeaningsConfig
from neurolocal.meanings.groups import Group, cuts, divide, strongest
from neurolocal.meanings.null import Null
from neurolocal.meanings.points import Points
from neurolocal.similarity.coherence import coherence

SCREEN = 2
"""Blocks of random sets for the best group."""

CORE = 0.8
"""Share of a group's mean cosine from which a word is one of its core."""


class Part(NamedTuple):
    """One part."""

    examples: Int64[np.ndarray, "_"]
    """Indices of its examples."""
    words: list[str]
    """Its distinct peak words, commonest first."""
    cohesion: float
    """Mean cosine over pairs of its clustered words."""
    p: float
    """Of its words, against random words."""


class Meanings(NamedTuple):
    """What the words of a neuron show."""

    n_words: int
    """Distinct words that were clustered."""
    group_p: float
    """Of the group that holds together best; NaN where there are too few words for two parts."""
    p: float
    """Largest p of the parts; 1 where there are none; NaN where no group holds together."""
    parts: list[Part]
    """Empty where there are none; most examples first."""


def meanings_of(points: Points, null: Null, config: MeaningsConfig) -> Meanings:
    """The parts of one neuron."""
    n = len(points.words)
    if n < 2 * config.words:
        return Meanings(n, np.nan, np.nan, [])
    unit, tree = points.unit, cuts(points.unit)
    group_p = null.p(strongest(unit, tree, null.scale, config.words), points.words, blocks=SCREEN)
    if group_p > config.level:
        return Meanings(n, group_p, np.nan, [])
    groups = divide(unit, tree, points.counts, null.scale, config)
    if not groups:
        return Meanings(n, group_p, 1.0, [])
    p, cores = list[float](), [_core(unit, group) for group in groups]
    for i, group in enumerate(groups):
        among = np.setdiff1d(np.arange(n), np.concatenate(cores[:i] + cores[i + 1 :]))
        p.append(null.p(null.scale.holds(unit[group]), [points.words[w] for w in among]))
    members = joined(points, groups, config)
    order = sorted(range(len(p)), key=lambda i: (-len(members[i]), int(members[i][0])))
    parts = [Part(members[i], points.among(members[i]), coherence(unit[groups[i]]), p[i]) for i in order]
    return Meanings(n, group_p, max(p), parts)


def _core(unit: Float32[np.ndarray, "word d"], group: Group) -> Group:
    """The words whose mean cosine to the others of the group is at least `CORE` of the group's own.

    The other words may be chance words that the group took in.
    """
    cosine = unit[group] @ unit[group].T
    to_others = (cosine.sum(axis=1) - 1) / (len(group) - 1)
    return group[to_others >= CORE * to_others.mean()]


def joined(points: Points, groups: Sequence[Group], config: MeaningsConfig) -> list[Int64[np.ndarray, "_"]]:
    """The examples of each part, with those that join it: whose word is clustered and in no group.

    An example joins the part to which its word and context are nearest, if they are half as near as the part's own
    examples are to each other, and at most `apart` of that near to any other part.
    """
    members = [np.flatnonzero(np.isin(points.of_example, group)) for group in groups]
    near = [_nearness(points, group, own, config.context) for group, own in zip(groups, members, strict=True)]
    inside = [float(n[own].mean()) for n, own in zip(near, members, strict=True)]
    found = [own.tolist() for own in members]
    for i in np.setdiff1d(np.flatnonzero(points.of_example >= 0), np.concatenate(members)).tolist():
        by_part = np.array([n[i] for n in near])
        first, *others = np.argsort(-by_part, kind="stable").tolist()
        if by_part[first] >= inside[first] / 2 and all(by_part[o] <= config.apart * by_part[first] for o in others):
            found[first].append(i)
    return [np.array(sorted(own), np.int64) for own in found]


def _nearness(
    points: Points, group: Group, own: Int64[np.ndarray, "_"], context: float
) -> Float32[np.ndarray, "example"]:
    """Mean cosine of each example to the other words of a group, and to the contexts of its other examples."""
    word, contexts = points.unit @ points.unit[group].T, points.contexts @ points.contexts[own].T
    itself = np.arange(len(points.words))[:, None] == group[None]
    by_word = np.where(itself, 0.0, word).sum(axis=1) / np.maximum((~itself).sum(axis=1), 1)
    same = np.arange(len(points.contexts))[:, None] == own[None]
    by_context = np.where(same, 0.0, contexts).sum(axis=1) / np.maximum((~same).sum(axis=1), 1)
    return ((1 - context) * by_word[points.of_example] + context * by_context).astype(np.float32)
