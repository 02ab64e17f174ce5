"""The result of `find` on a terminal: one line a neuron, strongest first.

Invariant: the searched text is untrusted like all text of a corpus, so it is made visible.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from neurolocal.render.terminal import Out, console
from neurolocal.render.visible import spaced
from neurolocal.store import Match


def print_matches(
    matches: Sequence[Match],
    *,
    text: str,
    sites: Sequence[str],
    out: Out,
    width: int | None = None,
    color: bool | None = None,
) -> None:
    """Print the neurons in the given order; the site only if the store has several.

    Args:
        matches: the result of `neurolocal.store.find`.
        text: the searched text.
        sites: the sites of the store.
        out: the output.
        width: columns; None is the terminal's width.
        color: whether to print in colour; None is whatever the terminal supports.
    """
    screen = console(out, width=width, color=color)
    if not matches:
        screen.print(Text(f"no neuron with an example that peaks on {spaced(text)}"))
        return
    neurons = f"{len(matches):,} neuron{'s' if len(matches) > 1 else ''}"
    screen.print(Text(f"{matches[0].by} {spaced(text)} · {neurons}", style="bold"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    if len(sites) > 1:
        table.add_column("site", no_wrap=True)
    for name in ("layer", "neuron", "strength", "examples", "activation"):
        table.add_column(name, justify="right", no_wrap=True)
    for m in matches:
        figures = [f"{m.layer}", f"{m.neuron}", f"{m.strength:.3f}", f"{m.examples}", f"{m.activation:.4g}"]
        table.add_row(*([m.site] if len(sites) > 1 else []), *figures)
    screen.print(table)
