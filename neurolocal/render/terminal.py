"""The console of a terminal view: its width and colours.

Invariant: the console interprets no markup in the text. If the output is not a terminal (a file, a pipe), it contains
no colour and no escape sequence. Where there is no colour (also NO_COLOR, a dumb terminal), what colour would say is
said by marks.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from io import TextIOBase
from typing import IO, cast

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from neurolocal.render.spans import SHADES, Span
from neurolocal.render.visible import LONGEST, visible

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


def console(out: Out, *, width: int | None = None, color: bool | None = None, otherwise: int = 100) -> Console:
    """A console that writes to `out`.

    Args:
        out: the output.
        width: columns; None is the terminal's width.
        color: whether to print in colour; None is whatever the terminal supports, and no colour without a terminal or
            with NO_COLOR set.
        otherwise: columns without a terminal.
    """
    terminal = bool(getattr(out, "isatty", lambda: False)()) if color is None else color
    columns = width or shutil.get_terminal_size((otherwise, 24)).columns
    return Console(
        file=cast("IO[str]", out),
        width=max(columns, NARROWEST),
        force_terminal=terminal,
        color_system="truecolor" if color else "auto" if terminal else None,
        no_color=None if color is None else not color,
        legacy_windows=False,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
    )


def has_colour(screen: Console) -> bool:
    """Whether a console shows colours, so that shades need no marks."""
    return screen.color_system is not None and not screen.no_color


def indented(screen: Console, body: RenderableType, *, columns: int = 2) -> None:
    """Print a text or a table, indented; its lines wrap within the width."""
    screen.print(Padding(body, (0, 0, 0, columns), expand=False))


def shaded(pieces: Sequence[Span], *, style: bool, tenths: bool = False) -> Text:
    """Spans as one text: with shades, or with marks where there is no colour.

    Args:
        pieces: the spans, in reading order.
        style: whether to shade, the peak bold and underlined. Otherwise the peak stands in double brackets.
        tenths: whether marks say the shade too: `[ Tuesday|4]`.
    """
    line = Text()
    for piece in pieces:
        text = visible(piece.text, limit=LONGEST)
        if style:
            line.append(text, style=shade_style(piece))
            continue
        level = f"|{piece.shade}" if tenths and piece.shade and not piece.special else ""
        opening, closing = ("[[", "]]") if piece.peak else ("[", "]") if level else ("", "")
        line.append(f"{opening}{text}{level}{closing}")
    return line


def shade_style(piece: Span) -> str:
    """Darker green for more activation, with white text, so it is readable on a light and on a dark terminal."""
    if piece.special:
        return "dim"
    if not piece.shade:
        return "bold underline" if piece.peak else ""
    share = piece.shade / SHADES
    ground = f"on rgb({round(30 * (1 - share))},{round(70 + 50 * share)},{round(60 + 20 * share)})"
    return f"{'bold underline ' if piece.peak else ''}rgb(255,255,255) {ground}"


def verdict_text(verdict: str | None) -> Text:
    """The verdict in its style; an en dash if there is none."""
    return Text(visible(verdict or "–", limit=12), style=VERDICT_STYLES.get(verdict or "", ""))
