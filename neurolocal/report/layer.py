"""One layer of a store, one side: the tables of all stages, read once, with access by neuron.

Invariant: if a stage has not run, or has not measured a neuron, its cells are None or NaN.
Cost: one read of each table, and with `whole` of all examples of the layer (about 2 kB each).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, nan
from typing import Any

import numpy as np

from neurolocal.literals import Side
from neurolocal.meanings.table import ranks_by_part
from neurolocal.records import TABLES, Example, Experts, LogitEffects, Statistics
from neurolocal.store import Store
from neurolocal.store.band_rows import Band, bands_of


@dataclass(frozen=True)
class Layer:
    """A layer of a store, one side, with the tables of all stages that have run."""

    store: Store
    layer: int
    """Index of the layer."""
    side: Side
    """Which example lists the layer is read from."""
    statistics: Statistics
    tables: Mapping[str, Any]
    """Stage -> its table; None if it has not run."""
    index: Mapping[int, int]
    """Neuron -> its position in the statistics and the example lists, which contain only the collected neurons."""
    rows: Mapping[str, Mapping[int, list[int]]]
    """Stage -> neuron -> its rows in the stage's table."""
    lists: list[list[Example]] | None
    """The examples of all neurons; None if they are read neuron by neuron."""
    experts: Experts | None = None
    """Whose neurons they are; None for a layer without experts."""

    def has(self, stage: str, neuron: int) -> bool:
        """Whether a stage's table contains a neuron."""
        return neuron in self.rows[stage]

    def figure(self, stage: str, column: str, neuron: int) -> float:
        """One number of a stage's table; NaN if there is none."""
        rows = self.rows[stage].get(neuron)
        return nan if not rows else float(getattr(self.tables[stage], column)[rows[0]])

    def text(self, stage: str, column: str, neuron: int) -> str | None:
        """One text of a stage's table; None if there is none."""
        rows = self.rows[stage].get(neuron)
        return None if not rows else str(getattr(self.tables[stage], column)[rows[0]])

    def examples(self, neuron: int) -> list[Example]:
        """The neuron's examples, strongest first."""
        lists, store = self.lists, self.store
        return store.examples(self.layer, neuron, self.side) if lists is None else lists[self.index[neuron]]

    def subset(self, example: Example) -> str:
        """The subset of the corpus in which an example's peak stands, a conversation's role included; empty: none."""
        parts = self.store.parts
        if not any(parts.subsets):
            return ""
        row = np.searchsorted(self.store.row_index, np.array([example.row]))
        return parts.subsets[parts.subset[parts.at(row, np.array([example.position]))[0]]]

    def ranked(self) -> list[int]:
        """All neurons of the layer by rank, best first; in neuron order if there is no verdict."""
        table, rows = self.tables["verdict"], self.rows["verdict"]
        rank = {neuron: int(table.rank[at[0]]) for neuron, at in rows.items()}
        return sorted(self.index, key=lambda neuron: (rank.get(neuron, len(rank)), neuron))

    def scores(self, neuron: int) -> dict[str, tuple[float, float, float, float]]:
        """The neuron's scores: measure -> value, low, high, control. Measures without a value are omitted."""
        table, rows = self.tables["score"], self.rows["score"].get(neuron, [])
        if table is None:
            return {}
        columns, found = (table.value, table.low, table.high, table.control), {}
        for i in rows:
            value, low, high, control = (float(column[i]) for column in columns)
            if isfinite(value):
                found[table.measure[i]] = (value, low, high, control)
        return found

    def output_q(self, neuron: int) -> dict[str, float]:
        """The q of the neuron's output scores, by measure."""
        table, rows = self.tables["score"], self.rows["score"].get(neuron, [])
        return {table.measure[i]: float(table.q[i]) for i in rows if isfinite(table.q[i])} if table is not None else {}

    @cached_property
    def ranks_by_part(self) -> Mapping[int, Mapping[int, int]]:
        """Neuron with several meanings -> rank of an example -> its meaning."""
        return {} if self.tables["meanings"] is None else ranks_by_part(self.tables["meanings"])

    @cached_property
    def bands(self) -> Callable[[int], list[Band]]:
        """Neuron -> its bands of activation; none where the store holds none."""
        return bands_of(self.store, self.layer, self.side)

    @cached_property
    def effects(self) -> LogitEffects | None:
        """The direct logit effects of the layer; None if the store holds none."""
        return self.store.logit_effects(self.layer)

    @cached_property
    def substitute_rows(self) -> Mapping[int, list[int]]:
        """Neuron -> its rows in the table of substitutes of the perturbation stage."""
        table = self.tables["perturbation"]
        return {} if table is None else _rows_by_neuron(table.substitutes)

    @cached_property
    def changed_token_rows(self) -> Mapping[int, list[int]]:
        """Neuron -> its rows in the table of tokens of the intervention stage."""
        table = self.tables["intervention"]
        return {} if table is None else _rows_by_neuron(table.tokens)


def read_layer(store: Store, layer: int, *, side: Side = "largest", whole: bool = True) -> Layer:
    """Read the tables of all stages that have run on a layer; with `whole` also all examples at once."""
    tables = {stage: store.evidence(stage, layer, side) for stage in TABLES}
    return Layer(
        store,
        layer,
        side,
        store.statistics(layer),
        tables,
        index={neuron: i for i, neuron in enumerate(store.neurons(layer).tolist())},
        rows={stage: {} if table is None else _rows_by_neuron(table) for stage, table in tables.items()},
        lists=store.example_lists(layer, side) if whole else None,
        experts=store.experts(layer),
    )


def _rows_by_neuron(table: Any) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {}
    for i, neuron in enumerate(table.neuron.tolist()):
        rows.setdefault(neuron, []).append(i)
    return rows
