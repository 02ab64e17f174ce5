"""Everything that a store holds about the neurons of one layer, read once, asked neuron by neuron.

Invariant: a stage that has not run, or has not looked at a neuron, answers None or NaN, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, nan

from neurolocal.errors import StoreError
from neurolocal.records import (
    Example,
    PerturbationTable,
    ScoreTable,
    Side,
    SimilarityTable,
    Statistics,
    SummaryTable,
    VerdictTable,
)
from neurolocal.report.reading import StoreReader


@dataclass(frozen=True)
class Figure:
    """One measured figure of a neuron beside its null, ready to print."""

    name: str
    """What was measured."""
    value: str
    """The figure."""
    null: str
    """What chance or controls give; empty where the figure has no null."""
    test: str
    """z, p and q, as far as they were measured."""
    at: float
    """The figure as a number, for a chart; NaN where unknown."""
    null_at: float
    """Its null as a number; NaN where unknown."""


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

    store: StoreReader
    layer: int
    """Index of the layer."""
    side: Side
    """Which end of the activations."""
    statistics: Statistics
    similarity: SimilarityTable | None
    perturbation: PerturbationTable | None
    summary: SummaryTable | None
    verdict: VerdictTable | None
    score: ScoreTable | None
    index: Mapping[int, int]
    """Neuron -> where it stands in the statistics and lists, which hold the collected ones alone."""
    rows: Mapping[str, Mapping[int, int]]
    """Stage -> neuron -> its row in the stage's table."""
    lists: list[list[Example]] | None
    """The examples of all neurons; None where they are read neuron by neuron."""

    def figure(self, stage: str, column: str, neuron: int) -> float:
        """One cell of a stage's table; NaN where there is none."""
        row = self.rows[stage].get(neuron)
        return nan if row is None else float(getattr(getattr(self, stage), column)[row])

    def text(self, stage: str, column: str, neuron: int) -> str | None:
        """One text cell of a stage's table; None where there is none."""
        row = self.rows[stage].get(neuron)
        return None if row is None else str(getattr(getattr(self, stage), column)[row])

    def examples(self, neuron: int) -> list[Example]:
        """The neuron's examples, strongest first."""
        lists, store = self.lists, self.store
        return store.examples(self.layer, neuron, self.side) if lists is None else lists[self.index[neuron]]

    def ranked(self) -> list[int]:
        """All neurons of the layer, best first; in neuron order where there is no verdict."""
        known = self.rows["verdict"]
        rank = {neuron: int(self.verdict.rank[row]) for neuron, row in known.items()} if self.verdict else {}
        return sorted(self.index, key=lambda n: (rank.get(n, len(rank)), n))

    def figures(self, neuron: int) -> list[Figure]:
        """What similarity, perturbation and score measured, each beside its null; empty where none did."""
        return [*self._of_words(neuron), *self._of_substitutes(neuron), *self._of_scores(neuron)]

    def _of_scores(self, neuron: int) -> list[Figure]:
        made = []
        for measure, (value, low, high, control) in self.scores(neuron).items():
            if measure in SCORES:
                name, other = SCORES[measure]
                null = f"{other} {fixed(control)}" if isfinite(control) else ""
                between = f"95 %: {fixed(low)} to {fixed(high)}" if isfinite(low) else ""
                made.append(Figure(name, fixed(value), null, between, value, control))
        return made

    def scores(self, neuron: int) -> dict[str, tuple[float, float, float, float]]:
        """What the neuron was scored, as far as it is known: measure -> value, low, high, control."""
        table = self.score
        rows = self._scored.get(neuron, [])
        if table is None:
            return {}
        columns = (table.value, table.low, table.high, table.control)
        found = {table.measure[i]: [float(column[i]) for column in columns] for i in rows}
        return {m: (v[0], v[1], v[2], v[3]) for m, v in found.items() if isfinite(v[0])}

    @cached_property
    def _scored(self) -> dict[int, list[int]]:
        """Where each neuron's measures stand in the table."""
        found: dict[int, list[int]] = {}
        for i, neuron in enumerate(self.score.neuron.tolist() if self.score else ()):
            found.setdefault(neuron, []).append(i)
        return found

    def _of_words(self, neuron: int) -> list[Figure]:
        if neuron not in self.rows["similarity"]:
            return []
        score, mean, sd, z, p, q = (
            self.figure("similarity", c, neuron) for c in ("score", "null_mean", "null_sd", "z", "p", "q")
        )
        null = f"random words {fixed(mean)} ± {fixed(sd)}" if isfinite(mean) else ""
        made = [Figure("coherence", fixed(score), null, tests(z=z, p=p, q=q), score, mean)]
        form = self.text("similarity", "form", neuron)
        share, p, q = (self.figure("similarity", f"form_{c}", neuron) for c in ("share", "p", "q"))
        if form:
            made.append(Figure(f"spelling: {form}", percent(share), "", tests(p=p, q=q), share, nan))
        for name, stem in (("contexts alike", "phrase"), ("texts alike (Doc2Vec)", "document")):
            score, z, p = (self.figure("similarity", f"{stem}_{c}", neuron) for c in ("score", "z", "p"))
            if isfinite(score):
                made.append(Figure(name, fixed(score), "", tests(z=z, p=p), score, nan))
        return made

    def _of_substitutes(self, neuron: int) -> list[Figure]:
        if neuron not in self.rows["perturbation"]:
            return []
        made, (p, q) = [], (self.figure("perturbation", c, neuron) for c in ("p", "q"))
        for name, column in (("keep half", "half"), ("keep all", "held"), ("mean activation", "relative")):
            value, null = (self.figure("perturbation", c, neuron) for c in (column, f"control_{column}"))
            beside = f"controls {percent(null)}" if isfinite(null) else ""
            shown = tests(p=p, q=q) if column == "half" else ""
            made.append(Figure(f"neighbours {name}", percent(value), beside, shown, value, null))
        auc = self.figure("perturbation", "auc", neuron)
        made.append(Figure("neighbour above control", fixed(auc), "chance 0.50", "", auc, 0.5))
        dose = self.figure("perturbation", "dose", neuron)
        if isfinite(dose):
            curve = [percent(self.figure("perturbation", c, neuron)) for c in CURVE]
            made.append(Figure("nearer words, more activation", fixed(dose), " → ".join(curve), "", dose, 0.0))
        for name, column in HALVES:
            value = self.figure("perturbation", column, neuron)
            if isfinite(value):
                made.append(Figure(name, percent(value), "", "", value, nan))
        return made

    def substitutes(self, neuron: int, *kinds: str, limit: int = 12, lowest: bool = False) -> list[Substitute]:
        """Distinct words of some kinds (of `records.KINDS`) that were tried, most (or least) activating first."""
        here = self._tried.get(neuron, [])
        tried = self.perturbation.substitutes if self.perturbation is not None else None
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
        for i, neuron in enumerate(self.perturbation.substitutes.neuron.tolist() if self.perturbation else ()):
            found.setdefault(neuron, []).append(i)
        return found


CURVE = ("relative", "grade1", "grade2", "grade3", "control_relative")
"""The dose-response curve: columns of mean activation / original, from near words to random ones."""

HALVES = (
    ("spelling variants keep half", "variant_half"),
    ("other capitals and spacings keep half", "form_half"),
    ("random words so spelled keep half", "spelled_half"),
    ("new words of the kind keep half", "reach_half"),
    ("other contexts keep half", "elsewhere_half"),
    ("alone, mean activation", "alone"),
)
"""Names and columns of what else was put in the peak word's place."""

SCORES = {
    "detection_auc": ("description: texts told apart", "another's"),
    "fuzzing_auc": ("description: words told apart", "another's"),
    "embedding_auc": ("description: texts, by vectors", "another's"),
    "firing_f1": ("pattern: firing foretold, F1", "another's"),
    "token_f1": ("token look-up: the same", ""),
}
"""Measures that are shown, by what they are called and what their control is; AUC where nothing else is said."""

MEANT = ("neighbour", "grade1", "grade2", "grade3", "reach")
"""Kinds of substitutes that were chosen for what they mean."""


def read_layer(store: StoreReader, layer: int, *, side: Side = "largest", whole: bool = True) -> Layer:
    """Read the tables of every stage that has run on a layer; with `whole` all examples at once (2 kB each)."""
    tables = {stage: store.evidence(stage, layer, side) for stage in STAGES}
    rows = {
        stage: {} if table is None else {int(neuron): i for i, neuron in enumerate(table.neuron)}
        for stage, table in tables.items()
    }
    tables["score"] = store.evidence("score", layer, side)
    lists = store.example_lists(layer, side) if whole else None
    index = {neuron: i for i, neuron in enumerate(store.neurons(layer).tolist())}
    return Layer(store, layer, side, store.statistics(layer), **tables, index=index, rows=rows, lists=lists)


STAGES = ("similarity", "perturbation", "summary", "verdict")
"""The stages whose tables are reported, in the order in which they run."""


def chosen_layers(store: StoreReader, layers: Iterable[int] | None) -> list[int]:
    """The layers asked for, ascending; None is all that were collected. A layer that is not there is a `StoreError`."""
    collected = list(store.layers)
    chosen = collected if layers is None else sorted(set(layers))
    missing = [n for n in chosen if n not in collected]
    if missing:
        raise StoreError(
            f"reading layer {', '.join(map(str, missing))}: the store holds layers "
            f"{', '.join(map(str, collected)) or '(none)'}. Choose from these, or collect the layer first."
        )
    return chosen


def number(value: float) -> str:
    """Two decimals, more where the value is small; an en dash where unknown."""
    if not isfinite(value):
        return "–" if value != value else ("∞" if value > 0 else "-∞")
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def fixed(value: float) -> str:
    """Two decimals; an en dash where unknown."""
    return f"{value:.2f}" if isfinite(value) else "–"


def percent(share: float) -> str:
    """`71 %`; an en dash where unknown."""
    return f"{round(100 * share)} %" if isfinite(share) else "–"


def tests(**values: float) -> str:
    """`z = 7.2, p = 0.001`: those that were measured."""
    return ", ".join(f"{k} = {v:.1f}" if k == "z" else f"{k} = {v:.2g}" for k, v in values.items() if v == v)
