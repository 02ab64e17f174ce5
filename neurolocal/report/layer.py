"""Everything that a store holds about the neurons of one layer, read once, asked neuron by neuron.

Invariant: a stage that has not run, or has not looked at a neuron, answers None or NaN, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, nan
from typing import Any

from neurolocal.literals import Side
from neurolocal.records import TABLES, Example, Statistics
from neurolocal.store import Store


@dataclass(frozen=True)
class Substitute:
    """A word that stood in a peak word's place, and what the activation became."""

    word: str
    """The word."""
    relative: float
    """Its activation / the original's; NaN where there is no original to compare with."""


@dataclass(frozen=True)
class Layer:
    """A layer of a store, one side, with the tables of every stage that has run."""

    store: Store
    layer: int
    """Index of the layer."""
    side: Side
    """Which of its lists."""
    statistics: Statistics
    tables: Mapping[str, Any]
    """Stage -> its table; None where it has not run."""
    index: Mapping[int, int]
    """Neuron -> where it stands in the statistics and lists, which hold the collected ones alone."""
    rows: Mapping[str, Mapping[int, list[int]]]
    """Stage -> neuron -> its rows in the stage's table."""
    lists: list[list[Example]] | None
    """The examples of all neurons; None where they are read neuron by neuron."""

    def has(self, stage: str, neuron: int) -> bool:
        """Whether a stage has looked at a neuron."""
        return neuron in self.rows[stage]

    def figure(self, stage: str, column: str, neuron: int) -> float:
        """One cell of a stage's table; NaN where there is none."""
        rows = self.rows[stage].get(neuron)
        return nan if not rows else float(getattr(self.tables[stage], column)[rows[0]])

    def text(self, stage: str, column: str, neuron: int) -> str | None:
        """One text cell of a stage's table; None where there is none."""
        rows = self.rows[stage].get(neuron)
        return None if not rows else str(getattr(self.tables[stage], column)[rows[0]])

    def examples(self, neuron: int) -> list[Example]:
        """The neuron's examples, strongest first."""
        lists, store = self.lists, self.store
        return store.examples(self.layer, neuron, self.side) if lists is None else lists[self.index[neuron]]

    def ranked(self) -> list[int]:
        """All neurons of the layer, best first; in neuron order where there is no verdict."""
        known, table = self.rows["verdict"], self.tables["verdict"]
        rank = {neuron: int(table.rank[rows[0]]) for neuron, rows in known.items()} if table is not None else {}
        return sorted(self.index, key=lambda n: (rank.get(n, len(rank)), n))

    def scores(self, neuron: int) -> dict[str, tuple[float, float, float, float]]:
        """What the neuron was scored, as far as it is known: measure -> value, low, high, control."""
        table, rows = self.tables["score"], self.rows["score"].get(neuron, [])
        if table is None:
            return {}
        columns = (table.value, table.low, table.high, table.control)
        found = {table.measure[i]: [float(column[i]) for column in columns] for i in rows}
        return {m: (v[0], v[1], v[2], v[3]) for m, v in found.items() if isfinite(v[0])}

    def substitutes(self, neuron: int, *kinds: str, limit: int = 12, lowest: bool = False) -> list[Substitute]:
        """Distinct words of some kinds (of `records.KINDS`) that were tried, most (or least) activating first."""
        here = self._tried.get(neuron, [])
        tried = self.tables["perturbation"].substitutes if self.tables["perturbation"] is not None else None
        if tried is None or not here:
            return []
        originals = {int(tried.rank[i]): float(tried.activation[i]) for i in here if tried.kind[i] == "original"}
        best: dict[str, float] = {}
        for i in here:
            if tried.kind[i] in kinds:
                original = originals.get(int(tried.rank[i]), nan)
                relative = float(tried.activation[i]) / original if original else nan
                word = tried.word[i].strip() or tried.word[i]
                best[word] = max(best.get(word, relative), relative)
        sign = 1 if lowest else -1
        order = sorted(best.items(), key=lambda item: (not isfinite(item[1]), sign * item[1], item[0]))
        return [Substitute(word, relative) for word, relative in order[:limit]]

    @cached_property
    def _tried(self) -> dict[int, list[int]]:
        """Where each neuron's substitutes stand in the table."""
        found: dict[int, list[int]] = {}
        table = self.tables["perturbation"]
        for i, neuron in enumerate(table.substitutes.neuron.tolist() if table is not None else ()):
            found.setdefault(neuron, []).append(i)
        return found


MEANT = ("neighbour", "grade1", "grade2", "grade3", "reach")
"""Kinds of substitutes that were chosen for what they mean."""


def read_layer(store: Store, layer: int, *, side: Side = "largest", whole: bool = True) -> Layer:
    """Read the tables of every stage that has run on a layer; with `whole` all examples at once (2 kB each)."""
    tables = {stage: store.evidence(stage, layer, side) for stage in TABLES}
    rows: dict[str, dict[int, list[int]]] = {stage: {} for stage in TABLES}
    for stage, table in tables.items():
        for i, neuron in enumerate(table.neuron.tolist() if table is not None else ()):
            rows[stage].setdefault(neuron, []).append(i)
    lists = store.example_lists(layer, side) if whole else None
    index = {neuron: i for i, neuron in enumerate(store.neurons(layer).tolist())}
    return Layer(store, layer, side, store.statistics(layer), tables, index=index, rows=rows, lists=lists)
