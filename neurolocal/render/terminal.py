"""How the report meets a terminal: width, colour, and text that nothing in a corpus can steer.

Invariant: where the output is no terminal (a file, a pipe) there is no colour and no escape sequence.
"""

from __future__ import annotations

import shutil
from io import StringIO
from typing import IO

from rich.console import Console
from rich.text import Text

from neurolocal.render.visible import visible

Out = IO[str] | StringIO
"""Where text goes: a terminal, a file, a pipe, or a string."""

VERDICT_STYLES = {
    "concept": "bold green",
    "token": "cyan",
    "form": "yellow",
    "context": "magenta",
    "dead": "dim",
    "unclear": "",
}
"""Style of each verdict's word."""

NARROWEST = 60
"""Columns under which no table can be read: narrower terminals wrap."""


def console(out: Out, *, width: int | None = None, color: bool | None = None) -> Console:
    """A console that writes to `out`; None asks the terminal (100 columns and no colour where there is none)."""
    terminal = bool(getattr(out, "isatty", lambda: False)()) if color is None else color
    columns = width or shutil.get_terminal_size((100, 24)).columns
    return Console(
        file=out,
        width=max(columns, NARROWEST),
        force_terminal=terminal,
        color_system="truecolor" if color else "auto" if terminal else None,
        legacy_windows=False,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
    )


def verdict_text(verdict: str | None) -> Text:
    """The verdict's word in its style; an en dash where there is none."""
    return Text(visible(verdict or "–", limit=12), style=VERDICT_STYLES.get(verdict or "", ""))
