"""The report's section of each stage: what it measured of a neuron, each figure beside its null.

Invariant: the sections are in the stages' run order. A stage without a section of its own shows the columns of its
table as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import isfinite, nan

from neurolocal.records import TABLES, table_of
from neurolocal.render.figures import fixed, number, percent, tests
from neurolocal.report.layer import Layer


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


def figures(read: Layer, neuron: int) -> list[Figure]:
    """What all stages measured of a neuron; empty where none did."""
    return [figure for stage in TABLES for figure in SECTIONS.get(stage, columns_of(stage))(read, neuron)]


def extra(read: Layer, neuron: int) -> dict[str, dict[str, float | str]]:
    """Stage -> column -> value, of the stages that have no section of their own."""
    others = (stage for stage in TABLES if stage not in SECTIONS and read.has(stage, neuron))
    return {stage: {name: _cell(read, stage, name, neuron) for name in _columns(stage)} for stage in others}


def columns_of(stage: str) -> Callable[[Layer, int], list[Figure]]:
    """A section that shows the columns of a stage's table as they are."""

    def section(read: Layer, neuron: int) -> list[Figure]:
        if not read.has(stage, neuron):
            return []
        made = []
        for name in _columns(stage):
            value = _cell(read, stage, name, neuron)
            at = value if isinstance(value, float) else nan
            made.append(Figure(f"{stage}: {name}", value if isinstance(value, str) else number(value), "", "", at, nan))
        return made

    return section


def _columns(stage: str) -> list[str]:
    """The columns of a stage's table that hold one value a neuron."""
    return [f.name for f in fields(table_of(stage)) if f.name != "neuron" and not str(f.type).endswith("Table")]


def _cell(read: Layer, stage: str, column: str, neuron: int) -> float | str:
    texts = isinstance(getattr(read.tables[stage], column), list)
    return (read.text(stage, column, neuron) or "") if texts else read.figure(stage, column, neuron)


def similarity(read: Layer, neuron: int) -> list[Figure]:
    """Coherence, shared spelling, and how alike the contexts are."""
    if not read.has("similarity", neuron):
        return []
    score, mean, sd, z, p, q = (
        read.figure("similarity", c, neuron) for c in ("score", "null_mean", "null_sd", "z", "p", "q")
    )
    null = f"random words {fixed(mean)} ± {fixed(sd)}" if isfinite(mean) else ""
    made = [Figure("coherence", fixed(score), null, tests(z=z, p=p, q=q), score, mean)]
    form = read.text("similarity", "form", neuron)
    share, p, q = (read.figure("similarity", f"form_{c}", neuron) for c in ("share", "p", "q"))
    if form:
        made.append(Figure(f"spelling: {form}", percent(share), "", tests(p=p, q=q), share, nan))
    for name, stem in (("contexts alike", "phrase"), ("texts alike (Doc2Vec)", "document")):
        score, z, p = (read.figure("similarity", f"{stem}_{c}", neuron) for c in ("score", "z", "p"))
        if isfinite(score):
            made.append(Figure(name, fixed(score), "", tests(z=z, p=p), score, nan))
    return made


def perturbation(read: Layer, neuron: int) -> list[Figure]:
    """What the activation became when the word was replaced."""
    if not read.has("perturbation", neuron):
        return []
    made, (p, q) = [], (read.figure("perturbation", c, neuron) for c in ("p", "q"))
    for name, column in (("keep half", "half"), ("keep all", "held"), ("mean activation", "relative")):
        value, null = (read.figure("perturbation", c, neuron) for c in (column, f"control_{column}"))
        beside = f"controls {percent(null)}" if isfinite(null) else ""
        shown = tests(p=p, q=q) if column == "half" else ""
        made.append(Figure(f"neighbours {name}", percent(value), beside, shown, value, null))
    auc = read.figure("perturbation", "auc", neuron)
    made.append(Figure("neighbour above control", fixed(auc), "chance 0.50", "", auc, 0.5))
    dose = read.figure("perturbation", "dose", neuron)
    if isfinite(dose):
        curve = [percent(read.figure("perturbation", c, neuron)) for c in CURVE]
        made.append(Figure("nearer words, more activation", fixed(dose), " → ".join(curve), "", dose, 0.0))
    for name, column in HALVES:
        value = read.figure("perturbation", column, neuron)
        if isfinite(value):
            made.append(Figure(name, percent(value), "", "", value, nan))
    return made


def score(read: Layer, neuron: int) -> list[Figure]:
    """What the description and the pattern are worth."""
    made = []
    for measure, (value, low, high, control) in read.scores(neuron).items():
        if measure in SCORES:
            name, other = SCORES[measure]
            null = f"{other} {fixed(control)}" if isfinite(control) else ""
            between = f"95 %: {fixed(low)} to {fixed(high)}" if isfinite(low) else ""
            made.append(Figure(name, fixed(value), null, between, value, control))
    return made


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

SECTIONS: dict[str, Callable[[Layer, int], list[Figure]]] = {
    "similarity": similarity,
    "perturbation": perturbation,
    "verdict": lambda read, neuron: [],
    "summary": lambda read, neuron: [],
    "score": score,
}
"""Stage -> its section. Verdict and summary are the head of a neuron's entry."""
