"""The effect of each threshold on the verdicts, as a table on a terminal: one line a value.

Invariant: the value in use is marked; only one threshold differs from its value in use in each line.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.table import Table
from rich.text import Text

from neurolocal.literals import VERDICTS
from neurolocal.render.terminal import Out, console
from neurolocal.verdict.sensitivity import Effect


def print_effects(effects: Sequence[Effect], *, title: str, out: Out, width: int | None = None) -> None:
    """Print how many neurons have each verdict at each value, and how many have another verdict than now.

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
    for threshold, group in groupby(effects, key=lambda effect: effect.threshold):
        for i, effect in enumerate(group):
            value = f"{effect.value:g}{' *' if effect.chosen else '  '}"
            cells = [threshold if not i else "", value, *(f"{effect.counts[v]:,}" for v in VERDICTS)]
            moved = "" if effect.chosen else f"{effect.moved:,}"
            table.add_row(*cells, moved, style="bold" if effect.chosen else "")
    screen.print(table)
    screen.print(Text("* the value in use; one threshold is changed at a time", style="dim"))
