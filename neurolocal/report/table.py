"""The ranked neurons on a terminal: rank, score, verdict, description and tokens, as the notebook printed them.

On a wide terminal also coherence and neighbours, each with its null in brackets.

Invariant: one line a neuron. Lines are cut to the width and never wrapped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import groupby
from math import isfinite

from rich.table import Table
from rich.text import Text

from neurolocal.render.figures import fixed, percent
from neurolocal.render.terminal import Out, console, verdict_text
from neurolocal.render.visible import LONGEST, counted, visible
from neurolocal.report.rows import LayerVerdicts, NeuronRow, verdict_counts

WIDE = 130
"""The least width in columns at which the evidence is shown beside description and tokens."""


def print_table(
    rows: Iterable[NeuronRow],
    *,
    out: Out,
    limit: int | None = None,
    verdicts: Mapping[int, LayerVerdicts] | None = None,
    least: float = 0.0,
    width: int | None = None,
    color: bool | None = None,
) -> None:
    """Print one table a layer, in the given order; the number of neurons left out is printed below it.

    Args:
        rows: the result of `report_rows`.
        out: the output.
        limit: neurons a layer; None is all.
        verdicts: of the whole layers, where `rows` are a part of them; None counts the rows.
        least: the least score of a neuron to print (0.3 in the notebook); neurons without a score are printed.
        width: columns; None is the terminal's width.
        color: whether to print in colour; None is whatever the terminal supports.
    """
    screen = console(out, width=width, color=color)
    layers = [(layer, list(group)) for layer, group in groupby(rows, key=lambda row: row.layer)]
    if not layers:
        screen.print(Text("no neurons to report"))
    for i, (layer, group) in enumerate(layers):
        shown = [row for row in group if not row.score < least][:limit]
        whole = (verdicts or {}).get(layer)
        n, tally = (len(group), verdict_counts(group)) if whole is None else (whole.neurons, whole.counts)
        counts = ", ".join(f"{many:,} {name}" for name, many in tally.items() if many)
        head = f"layer {layer} · {n:,} neurons · {counts or 'no verdict yet'}"
        screen.print(Text(("\n" if i else "") + head, style="bold"))
        if whole is not None and whole.untrained is not None:
            drawn = ", ".join(f"{many:,} {name}" for name, many in whole.untrained.items() if many)
            screen.print(Text(f"untrained weights: {drawn}", style="dim"))
        screen.print(_table(shown, wide=screen.width >= WIDE))
        if len(shown) < n:
            screen.print(Text(f"{n - len(shown):,} more are not shown", style="dim"))


def _table(rows: list[NeuronRow], *, wide: bool) -> Table:
    table = Table(box=None, expand=True, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    experts = any(row.expert is not None for row in rows)
    for name in ("rank", "neuron", *(["expert · neuron"] if experts else []), "score"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True, min_width=7)
    table.add_column("description", no_wrap=True, overflow="ellipsis", ratio=3)
    table.add_column("tokens", no_wrap=True, overflow="ellipsis", ratio=4)
    if wide:
        table.add_column("coherence (null)", no_wrap=True)
        table.add_column("neighbours (controls)", no_wrap=True)
    for row in rows:
        cells = [
            Text("–" if row.rank is None else str(row.rank)),
            Text(str(row.neuron)),
            *([Text("–" if row.expert is None else f"{row.expert} · {row.expert_neuron}")] if experts else []),
            Text(f"{row.score:.3f}" if isfinite(row.score) else "–"),
            verdict_text(row.verdict),
            Text(visible(row.description, limit=LONGEST) or "–", style="" if row.description else "dim"),
            Text(counted(Counter(row.tokens).most_common(12)) or "–"),
        ]
        if wide:
            cells.append(_beside(fixed(row.similarity), fixed(row.similarity_null)))
            cells.append(_beside(percent(row.perturbation_half), percent(row.perturbation_control_half)))
        table.add_row(*cells)
    return table


def _beside(value: str, null: str) -> Text:
    return Text.assemble(f"{value:>5}", (f"  ({null})", "dim")) if value != "–" else Text("    –", style="dim")
