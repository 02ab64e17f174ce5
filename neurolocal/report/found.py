"""What `find` found, on a terminal: one line a neuron, strongest first.

Invariant: the text that was looked for is shown as any other text of a corpus, nothing hidden in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from neurolocal.render.terminal import Out, console
from neurolocal.render.visible import spaced
from neurolocal.store import Match


def print_found(
    found: Sequence[Match],
    *,
    text: str,
    sites: Sequence[str],
    out: Out,
    width: int | None = None,
    color: bool | None = None,
) -> None:
    """Print the neurons in the order given, the site only where the store has several.

    Args:
        found: what `neurolocal.store.find` returned.
        text: what was looked for.
        sites: the sites of the store.
        out: where to print.
        width: columns; the terminal's where not given.
        color: whether in colour; as the terminal can where not given.
    """
    screen = console(out, width=width, color=color)
    if not found:
        screen.print(Text(f"no neuron of these peaks on {spaced(text)}"))
        return
    screen.print(
        Text(f"{found[0].by} {spaced(text)} · {len(found):,} neuron{'s' if len(found) > 1 else ''}", style="bold")
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    if len(sites) > 1:
        table.add_column("site", no_wrap=True)
    for name in ("layer", "neuron", "strength", "examples", "activation"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        figures = [f"{one.layer}", f"{one.neuron}", f"{one.strength:.3f}", f"{one.examples}", f"{one.activation:.4g}"]
        table.add_row(*([one.site] if len(sites) > 1 else []), *figures)
    screen.print(table)
