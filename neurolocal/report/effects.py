"""On a terminal, what decided a layer's verdicts: its best neurons with their reasons, then each threshold's effect.

Invariant: the value in use is marked; only one threshold differs from its value in use in each line. A threshold of
which no value changes a verdict takes a line of its own at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from rich.table import Table
from rich.text import Text

from neurolocal.literals import VERDICTS
from neurolocal.records import VerdictTable
from neurolocal.render.terminal import Out, console
from neurolocal.render.visible import visible
from neurolocal.verdict.sensitivity import Effect

BEST = 8
"""Neurons whose reasons are printed."""


def print_reasons(table: VerdictTable, *, title: str, out: Out, width: int | None = None) -> None:
    """Print the best neurons of a layer, each with the facts that decided its verdict.

    Args:
        table: the verdicts of the layer.
        title: the line above.
        out: the output.
        width: columns; None is the terminal's width.
    """
    screen = console(out, width=width)
    screen.print(Text(f"\n{title}", style="bold"))
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in ("neuron", "verdict"):
        shown.add_column(name, no_wrap=True, justify="right" if name == "neuron" else "left")
    shown.add_column("decided by")
    for i in np.argsort(table.rank)[:BEST]:
        shown.add_row(str(table.neuron[i]), Text(visible(table.verdict[i])), Text(visible(table.reason[i])))
    screen.print(shown)


def print_effects(effects: Sequence[Effect], *, title: str, out: Out, width: int | None = None) -> None:
    """Print how many neurons have each verdict at each value, and how many have another verdict than now.

    The threshold that can move most neurons comes first.

    Args:
        effects: the result of `neurolocal.verdict.sensitivity`, grouped by threshold.
        title: the line above the table.
        out: the output.
        width: columns; None is the terminal's width.
    """
    screen = console(out, width=width)
    screen.print(Text(f"\n{title}", style="bold"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("threshold", no_wrap=True)
    for name in ("value", *VERDICTS, "moved"):
        table.add_column(name, justify="right", no_wrap=True)
    groups = {threshold: list(group) for threshold, group in groupby(effects, key=lambda effect: effect.threshold)}
    most = {threshold: max(effect.moved for effect in group) for threshold, group in groups.items()}
    for threshold in sorted(filter(most.get, groups), key=most.__getitem__, reverse=True):
        for i, effect in enumerate(groups[threshold]):
            value = f"{effect.value:g}{' *' if effect.chosen else '  '}"
            cells = [threshold if not i else "", value, *(f"{effect.counts[v]:,}" for v in VERDICTS)]
            moved = "" if effect.chosen else f"{effect.moved:,}"
            table.add_row(*cells, moved, style="bold" if effect.chosen else "")
    if any(most.values()):
        screen.print(table)
        screen.print(Text("* the value in use; one threshold is changed at a time", style="dim"))
    if still := [_tried(groups[threshold]) for threshold in groups if not most[threshold]]:
        screen.print(Text(f"no verdict changes with {', '.join(still)}", style="dim"))


def _tried(group: Sequence[Effect]) -> str:
    """The values of a threshold that were tried."""
    return f"{group[0].threshold} from {group[0].value:g} to {group[-1].value:g}"
