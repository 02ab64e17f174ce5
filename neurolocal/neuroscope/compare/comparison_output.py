"""A comparison as JSON and on a terminal.

Invariant: an unknown figure is null in JSON and an en dash on a terminal; text of the two stores is made visible before
a terminal gets it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from math import isfinite
from typing import Any

from rich.table import Table
from rich.text import Text

from neurolocal.neuroscope.compare.comparison import Comparison, LayerComparison, NeuronColumns
from neurolocal.render.figures import fixed, percent, strict
from neurolocal.render.terminal import Out, console
from neurolocal.render.visible import spaced, visible

WIDE = 110
"""Terminal columns from which their tokens are shown beside ours."""


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
    """One neuron of the comparison as plain values."""
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
    """Print the notes, one line a layer, and the neurons that agree least, at most `limit`."""
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
            cells += [fixed(n.rbo[at]), shared(n, at), token_list(one.own_tokens[at])]
            cells += [token_list(one.their_tokens[at])] if wide else []
        table.add_row(*(Text(cell) for cell in cells))
    return table


def number(value: float) -> str:
    """Four figures; an en dash where unknown."""
    return f"{value:.4g}" if isfinite(value) else "–"


def shared(neurons: NeuronColumns, at: int) -> str:
    """`3/20`: their examples that are also ours, out of those that could be searched for."""
    return f"{neurons.shared[at]}/{neurons.known[at]}" if neurons.known[at] >= 0 else "–"


def token_list(tokens: tuple[str, ...]) -> str:
    """Tokens on one line, nothing hidden."""
    return ", ".join(spaced(token) for token in tokens) or "–"


def beside(value: str, null: str) -> Text:
    """A figure, with its null in brackets."""
    return Text.assemble(value, (f" ({null})", "dim")) if value != "–" and null else Text(value)
