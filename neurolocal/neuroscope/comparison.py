"""What a comparison holds, by neuron, by layer and over all; as JSON, and on a terminal.

Invariant: what could not be measured is NaN (null in JSON), never 0; text of the two stores is made visible before a
terminal gets it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from rich.table import Table
from rich.text import Text

from neurolocal.neuroscope.sides import Facts
from neurolocal.render.figures import fixed, percent, strict
from neurolocal.render.terminal import Out, console
from neurolocal.render.visible import spaced, visible

TOKENS = 5
"""Peak tokens that are shown of each side."""

WIDE = 110
"""Columns from which their tokens have room beside ours."""


@dataclass(frozen=True)
class Figures:
    """How well two sides agree over some neurons. NaN: not measured."""

    neurons: int
    """In common."""
    unknown: int
    """Of these, whose maximum is unknown or not to be trusted on a side: they are in no figure of maxima."""
    spearman: float
    """Rank correlation of the neurons' maxima; over several layers their mean, weighted by neurons."""
    p: float
    """Probability of one as far from 0 where the maxima have nothing to do with each other."""
    low: float
    """Lower end of its 95 % interval: Fisher's z, with the variance (1 + rho^2 / 2) / (n - 3) of Bonett and Wright."""
    high: float
    """Upper end."""
    same_values: float
    """Share of the maxima that the other side has, too (to 4 decimals), whichever neuron they belong to."""
    in_place: float
    """Share of the maxima that are the same (to 4 decimals) at the same neuron."""
    ratio: float
    """Median of own / their maximum, of the neurons where both are above 0."""
    ratio_expected: float
    """Median of what it should be for corpora of these sizes; see `tail`."""
    jaccard: float
    """Mean over neurons: distinct peak tokens in both / in either."""
    jaccard_null: float
    """The same with another neuron of the layer, drawn at random."""
    rbo: float
    """Mean rank-biased overlap of the distinct peak tokens, strongest first."""
    rbo_null: float
    """The same with another neuron of the layer."""
    their_examples: int
    """Examples of theirs."""
    known: int
    """Of these, how many have text around the peak that can be looked for."""
    contained: float
    """Share of these whose text stands in a row that our store keeps."""
    shared: float
    """Share of these whose text stands in a row of our examples of the same neuron."""
    shared_null: float
    """The same with another neuron of the layer."""


class Neurons(NamedTuple):
    """The neurons of a layer that both sides have, in order."""

    neuron: Int64[np.ndarray, "n"]
    """Index within the layer."""
    own: Float64[np.ndarray, "n"]
    """Our maximum."""
    theirs: Float64[np.ndarray, "n"]
    """Theirs."""
    ratio_expected: Float64[np.ndarray, "n"]
    """What own / theirs should be for corpora of these sizes."""
    jaccard: Float64[np.ndarray, "n"]
    """Of the distinct peak tokens."""
    jaccard_null: Float64[np.ndarray, "n"]
    """With another neuron's of theirs."""
    rbo: Float64[np.ndarray, "n"]
    """Rank-biased overlap of the same."""
    rbo_null: Float64[np.ndarray, "n"]
    """With another neuron's of theirs."""
    own_examples: Int64[np.ndarray, "n"]
    """Our examples."""
    their_examples: Int64[np.ndarray, "n"]
    """Theirs."""
    known: Int64[np.ndarray, "n"]
    """Of theirs, how many have text that can be looked for; -1 where nothing was."""
    contained: Int64[np.ndarray, "n"]
    """Of these, how many are in our rows."""
    shared: Int64[np.ndarray, "n"]
    """Of these, how many are in the rows of our examples of the neuron."""
    shared_null: Int64[np.ndarray, "n"]
    """In those of another neuron."""
    agreement: Float64[np.ndarray, "n"]
    """By which neurons are sorted: `rbo`; where a side has no examples, 1 - the distance of the maxima's ranks within
    the layer / (n - 1); NaN where neither is known."""

    @property
    def ratio(self) -> Float64[np.ndarray, "n"]:
        """Own / their maximum; NaN where either is not above 0."""
        both = (self.own > 0) & (self.theirs > 0)
        return np.where(both, self.own, np.nan) / np.where(both, self.theirs, 1.0)


@dataclass(frozen=True)
class LayerComparison:
    """One layer of both sides."""

    layer: int
    figures: Figures
    neurons: Neurons
    own_tokens: list[tuple[str, ...]]
    """By neuron: our first distinct peak tokens."""
    their_tokens: list[tuple[str, ...]]
    """Theirs."""


@dataclass(frozen=True)
class Comparison:
    """Two sides compared."""

    own: Facts
    theirs: Facts
    layers: list[LayerComparison]
    overall: Figures
    notes: list[str]
    """What it comes to, in plain words."""

    def least_agreeing(self) -> Iterator[tuple[LayerComparison, int]]:
        """Every neuron as its layer and its place there: those that agree least first, unknown ones last."""
        agreement = np.concatenate([layer.neurons.agreement for layer in self.layers])
        which = np.concatenate([np.full(len(one.neurons.neuron), i) for i, one in enumerate(self.layers)])
        within = np.concatenate([np.arange(len(one.neurons.neuron)) for one in self.layers])
        for at in np.argsort(agreement, kind="stable").tolist():  # NaN last
            yield self.layers[which[at]], int(within[at])


def comparison_json(c: Comparison) -> str:
    """The whole comparison as strict JSON: NaN is null, neurons come least agreeing first."""
    listed = [neuron_object(layer, at) for layer, at in c.least_agreeing()]
    found = {
        "own": asdict(c.own),
        "theirs": asdict(c.theirs),
        "notes": c.notes,
        "overall": asdict(c.overall),
        "layers": [{"layer": one.layer} | asdict(one.figures) for one in c.layers],
        "neurons": listed,
    }
    return json.dumps(strict(found), indent=1, allow_nan=False)


def neuron_object(layer: LayerComparison, at: int) -> dict[str, Any]:
    """One neuron of the comparison, plain values."""
    columns = {name: column[at].item() for name, column in layer.neurons._asdict().items()}
    if columns["known"] < 0:
        columns |= dict.fromkeys(("known", "contained", "shared", "shared_null"))
    return {
        "layer": layer.layer,
        **columns,
        "ratio": float(layer.neurons.ratio[at]),
        "own_tokens": list(layer.own_tokens[at]),
        "their_tokens": list(layer.their_tokens[at]),
    }


def print_comparison(
    c: Comparison, *, out: Out, limit: int = 20, width: int | None = None, color: bool | None = None
) -> None:
    """Print notes, a line a layer, and the neurons that agree least, at most `limit`."""
    screen = console(out, width=width, color=color)
    screen.print(Text(f"{visible(c.own.path, limit=80)} · {visible(c.theirs.path, limit=80)}", style="bold"))
    for note in c.notes:
        screen.print(Text(f"- {visible(note, limit=400)}"))
    screen.print()
    screen.print(_layers(c, wide=screen.width >= WIDE))
    least = [place for place, _ in zip(c.least_agreeing(), range(limit), strict=False)]
    if least:
        screen.print(Text("\nneurons that agree least", style="bold"))
        screen.print(_neurons(least, wide=screen.width >= WIDE, examples=isfinite(c.overall.rbo)))
    left = sum(len(one.neurons.neuron) for one in c.layers) - len(least)
    if left:
        screen.print(Text(f"{left:,} more are not shown", style="dim"))


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _layers(c: Comparison, *, wide: bool) -> Table:
    examples = isfinite(c.overall.rbo)
    ratio = "own/theirs (expected)" if wide else "ratio (exp.)"
    more = ("rbo (null)", "shared (null)", *(("jaccard (null)", "in our rows") if wide else ())) if examples else ()
    table = _table("layer", "neurons", "Spearman (95 %)", ratio, *more)
    rows = [(str(one.layer), one.figures) for one in c.layers]
    for name, f in [*rows, *([("all", c.overall)] if len(rows) > 1 else [])]:
        cells = [
            Text(name),
            Text(f"{f.neurons:,}"),
            beside(fixed(f.spearman), f"{fixed(f.low)} to {fixed(f.high)}" if isfinite(f.low) else ""),
            beside(fixed(f.ratio), fixed(f.ratio_expected)),
            beside(fixed(f.rbo), fixed(f.rbo_null)),
            beside(percent(f.shared), percent(f.shared_null)),
            beside(fixed(f.jaccard), fixed(f.jaccard_null)),
            Text(percent(f.contained)),
        ]
        table.add_row(*cells[: len(table.columns)])
    return table


def _neurons(places: list[tuple[LayerComparison, int]], *, wide: bool, examples: bool) -> Table:
    table = _table("layer", "neuron", "agreement", "own", "theirs", *(("rbo", "shared") if examples else ()))
    if examples:
        table.expand = True
        for name in ("our peaks", "theirs") if wide else ("our peaks",):
            table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1)
    for one, at in places:
        n = one.neurons
        cells = [f"{one.layer}", f"{n.neuron[at]}", fixed(n.agreement[at]), number(n.own[at]), number(n.theirs[at])]
        if examples:
            cells += [fixed(n.rbo[at]), shared(n, at), said(one.own_tokens[at])]
            cells += [said(one.their_tokens[at])] if wide else []
        table.add_row(*(Text(cell) for cell in cells))
    return table


def number(value: float) -> str:
    """Four figures; an en dash where unknown."""
    return f"{value:.4g}" if isfinite(value) else "–"


def shared(neurons: Neurons, at: int) -> str:
    """`3/20`: their examples that are ours, too, of those that could be looked for."""
    return f"{neurons.shared[at]}/{neurons.known[at]}" if neurons.known[at] >= 0 else "–"


def said(tokens: tuple[str, ...]) -> str:
    """Tokens on one line, nothing hidden."""
    return ", ".join(spaced(token) for token in tokens) or "–"


def beside(value: str, null: str) -> Text:
    """A figure with what it is to be compared with in brackets."""
    return Text.assemble(value, (f" ({null})", "dim")) if value != "–" and null else Text(value)
