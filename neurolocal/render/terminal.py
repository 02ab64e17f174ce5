"""The console of a terminal view: its width and colours.

Invariant: the console interprets no markup in the text. If the output is not a terminal (a file, a pipe), it contains
no colour and no escape sequence.
"""

from __future__ import annotations

import shutil
from io import TextIOBase
from typing import IO, cast

from rich.console import Console
from rich.text import Text

from neurolocal.render.visible import visible

Out = IO[str] | TextIOBase
"""An output for text: a terminal, a file, a pipe, or a string buffer."""

VERDICT_STYLES = {
    "concept": "bold green",
    "grammar": "green",
    "token": "cyan",
    "form": "yellow",
    "context": "magenta",
    "dead": "dim",
    "unclear": "",
    "untested": "dim",
}
"""The style in which each verdict is printed."""

NARROWEST = 60
"""The least width of a console in columns: narrower tables are unreadable, so narrower terminals wrap the lines."""


def console(out: Out, *, width: int | None = None, color: bool | None = None) -> Console:
    """A console that writes to `out`.

    Args:
        out: the output.
        width: columns; None is the terminal's width, or 100 without a terminal.
        color: whether to print in colour; None is whatever the terminal supports, and no colour without a terminal.
    """
    terminal = bool(getattr(out, "isatty", lambda: False)()) if color is None else color
    columns = width or shutil.get_terminal_size((100, 24)).columns
    return Console(
        file=cast("IO[str]", out),
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
    """The verdict in its style; an en dash if there is none."""
    return Text(visible(verdict or "–", limit=12), style=VERDICT_STYLES.get(verdict or "", ""))
