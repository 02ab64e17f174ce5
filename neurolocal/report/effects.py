"""The effect of each threshold on the verdicts, as a table on a terminal: one line a value, the chosen one marked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.table import Table
from rich.text import Text

from neurolocal.records import VERDICTS
from neurolocal.render.terminal import Out, console
from neurolocal.verdict.sensitivity import Effect


def print_effects(effects: Sequence[Effect], *, title: str, out: Out, width: int | None = None) -> None:
    """Print how many neurons have each verdict at each value, and how many moved."""
    screen = console(out, width=width)
    screen.print(Text(f"\n{title}", style="bold"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("threshold", no_wrap=True)
    for name in ("value", *VERDICTS, "moved"):
        table.add_column(name, justify="right", no_wrap=True)
    for threshold, held in groupby(effects, key=lambda effect: effect.threshold):
        for i, effect in enumerate(held):
            value = f"{effect.value:g}{' *' if effect.chosen else '  '}"
            cells = [threshold if not i else "", value, *(f"{effect.counts[v]:,}" for v in VERDICTS)]
            moved = "" if effect.chosen else f"{effect.moved:,}"
            table.add_row(*cells, moved, style="bold" if effect.chosen else "")
    screen.print(table)
    screen.print(Text("* the value in use; one threshold is moved at a time", style="dim"))
