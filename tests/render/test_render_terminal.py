"""Consoles: width, colour, and no markup in the text."""

import io
import sys

import pytest
from rich.text import Text

from neurolocal.literals import VERDICTS
from neurolocal.render.terminal import NARROWEST, VERDICT_STYLES, console, verdict_text


class Terminal(io.StringIO):
    """An output that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def printed(out, text, **settings):
    console(out, **settings).print(text)
    return out.getvalue()


def test_a_pipe_has_no_colour_and_a_terminal_has_if_it_can(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    bold = Text("a", style="bold")
    assert printed(io.StringIO(), bold) == "a\n"
    assert printed(Terminal(), bold) == "\x1b[1ma\x1b[0m\n"
    assert printed(Terminal(), bold, color=False) == "a\n"
    assert "\x1b[" in printed(io.StringIO(), bold, color=True)


@pytest.mark.parametrize(("width", "columns"), [(200, 200), (10, NARROWEST)])
def test_width(width, columns):
    assert console(io.StringIO(), width=width).width == columns


def test_without_a_terminal_the_width_is_100(monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    monkeypatch.setattr(sys, "__stdout__", None)
    assert console(io.StringIO()).width == 100


def test_markup_and_emoji_codes_are_text():
    assert printed(io.StringIO(), "[bold]a[/] :smile: 12") == "[bold]a[/] :smile: 12\n"


def test_every_verdict_has_a_style_and_an_unknown_one_is_made_visible():
    assert set(VERDICT_STYLES) == set(VERDICTS)
    assert [verdict_text(verdict).plain for verdict in VERDICTS] == list(VERDICTS)
    assert verdict_text(None).plain == "–"
    assert verdict_text("\x1b[31mred and very long").plain == "⟨U+001B⟩[31mred and…(+10)"
