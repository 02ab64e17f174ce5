"""An answer on a terminal: each neuron with the text shaded by its activation, and of one neuron every token.

Invariant: with colour, tokens are shaded and the peak is underlined. Without (a pipe, a file, NO_COLOR) a token's shade
stands behind it, `[ Tuesday|4]`, in tenths of the neuron's extreme, and the peak is in double brackets. What is hidden
in texts is made visible.
"""

from __future__ import annotations

from math import isfinite, nan

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neurolocal.asking.answer import Comparison, NeuronOnText, TextAnswer
from neurolocal.render.figures import number, percent
from neurolocal.render.spans import Span, shades, token_spans
from neurolocal.render.terminal import Out, console, has_colour, indented, shade_style, shaded, verdict_text
from neurolocal.render.visible import LONGEST, spaced, visible
from neurolocal.words import Vocabulary

MARKS = "[token|4]: activation in tenths of the {full}; [[ ]]: the peak"
"""What marks say where there is no colour."""


def print_answer(
    answer: TextAnswer, vocabulary: Vocabulary, *, out: Out, width: int | None = None, color: bool | None = None
) -> None:
    """Print an answer.

    Args:
        answer: from `Asking`.
        vocabulary: of the subject.
        out: the output.
        width: columns; None is the terminal's width, 80 without one.
        color: whether to print in colour; None is whatever the terminal supports.
    """
    screen = console(out, width=width, color=color, otherwise=80)
    _begin(screen, answer, [f"{len(answer.tokens)} tokens"])
    if not answer.neurons:
        screen.print(Text("no neuron has a share on this text"))
    for i, one in enumerate(answer.neurons):
        screen.print(Text.assemble("\n" * bool(i), _name(one)))
        _described(screen, one)
        _peak(screen, answer, one)
        _text(screen, answer, one, vocabulary)
    if len(answer.neurons) == 1:
        screen.print()
        indented(screen, _tokens(answer, answer.neurons[0], style=has_colour(screen)))


def print_comparison(
    comparison: Comparison, vocabulary: Vocabulary, *, out: Out, width: int | None = None, color: bool | None = None
) -> None:
    """Print a comparison; arguments as of `print_answer`."""
    screen = console(out, width=width, color=color, otherwise=80)
    first, second = comparison.first, comparison.second
    _begin(screen, first, [f"{len(first.tokens)} tokens, compared with {len(second.tokens)}"])
    if not first.neurons:
        screen.print(Text("no neuron has a share on both texts"))
    for i, (a, b) in enumerate(zip(first.neurons, second.neurons, strict=True)):
        screen.print(Text.assemble("\n" * bool(i), _name(a), (f" · {_gain(a, b)}", "bold")))
        _described(screen, a)
        for answer, one in ((first, a), (second, b)):
            _peak(screen, answer, one)
            _text(screen, answer, one, vocabulary)
    if len(first.neurons) == 1:
        screen.print()
        indented(screen, _aligned(comparison, style=has_colour(screen)))


def _begin(screen: Console, answer: TextAnswer, facts: list[str]) -> None:
    head = [visible(answer.subject, limit=LONGEST), answer.site, *facts]
    if answer.side != "largest":
        head.append(f"{answer.side} activations")
    screen.print(Text(" · ".join(head), style="dim"))
    if not has_colour(screen):
        known = any(isfinite(one.extreme) for one in answer.neurons)
        screen.print(Text(MARKS.format(full=f"neuron's {answer.side}" if known else "peak"), style="dim"))
    screen.print()


def _name(one: NeuronOnText) -> Text:
    named = f" ({one.name})" if one.name else ""
    line = Text(f"layer {one.layer} · neuron {one.neuron}{named}", style="bold")
    return Text.assemble(line, " · ", verdict_text(one.verdict)) if one.verdict else line


def _described(screen: Console, one: NeuronOnText) -> None:
    if one.description:
        indented(screen, Text(visible(one.description, limit=LONGEST)))


def _peak(screen: Console, answer: TextAnswer, one: NeuronOnText) -> None:
    """Where the neuron is most active, and where that is in its distribution."""
    if one.peak is None:
        return indented(screen, Text("no activation at any counted token", style="dim"))
    line = f"{spaced(answer.tokens[one.peak].text)} {number(one.peak_activation)}"
    if isfinite(one.peak_share):
        line += f" · {percent(one.peak_share)} of its {answer.side} ({number(one.extreme)})"
    if isfinite(one.peak_quantile):
        above = "all positions" if one.peak_quantile >= 1 else f"{quantile(one.peak_quantile)} of positions"
        line += f" · above {above}"
    return indented(screen, Text(line))


def _text(screen: Console, answer: TextAnswer, one: NeuronOnText, vocabulary: Vocabulary) -> None:
    indented(screen, shaded(text_spans(answer, one, vocabulary), style=has_colour(screen), tenths=True), columns=4)


def text_spans(answer: TextAnswer, one: NeuronOnText, vocabulary: Vocabulary) -> list[Span]:
    """The text in spans; an activation of the neuron's extreme (without one, of the peak) has the deepest shade."""
    ids = np.array([token.id for token in answer.tokens])
    return token_spans(ids, one.activations, vocabulary, full=full_activation(answer, one), peak=one.peak)


def full_activation(answer: TextAnswer, one: NeuronOnText) -> float:
    """The activation of the deepest shade; NaN, which shades nothing, if even the peak has the other sign."""
    if isfinite(one.extreme):
        return one.extreme
    there = one.peak_activation > 0 if answer.side == "largest" else one.peak_activation < 0
    return one.peak_activation if there else nan


def _tokens(answer: TextAnswer, one: NeuronOnText, *, style: bool) -> Table:
    """Every token of the text with its figures."""
    grid = _grid(("pos", "id", "token", "activation", "share", "above"), left=("token",))
    for i, token in enumerate(answer.tokens):
        figures = (percent(float(one.shares[i])), quantile(float(one.quantiles[i])))
        known = figures if token.counted else ("–", "–")
        grid.add_row(str(i), str(token.id), _token(answer, one, i, style=style), _value(one, i), *known)
    return grid


def _aligned(comparison: Comparison, *, style: bool) -> Table:
    """The tokens of both texts side by side, with what changes."""
    grid = _grid(("token", "activation", "other token", "activation", "change"), left=("token", "other token"))
    first, second = comparison.first, comparison.second
    a, b = first.neurons[0], second.neurons[0]
    for i, j in comparison.pairs():
        left = ["", ""] if i is None else [_token(first, a, i, style=style), _value(a, i)]
        right = ["", ""] if j is None else [_token(second, b, j, style=style), _value(b, j)]
        both = i is not None and j is not None
        gain = number(float(b.activations[j]) - float(a.activations[i])) if both else ""
        grid.add_row(*left, *right, gain)
    return grid


def _grid(names: tuple[str, ...], *, left: tuple[str, ...]) -> Table:
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in names:
        grid.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    return grid


def _token(answer: TextAnswer, one: NeuronOnText, i: int, *, style: bool) -> Text:
    """A token by itself, shaded as in the text."""
    text = spaced(answer.tokens[i].text)
    shade = shades(one.activations[i : i + 1], full_activation(answer, one))[0]
    piece = Span(text, int(shade), float(one.activations[i]), i == one.peak, answer.tokens[i].special)
    return Text(text, style=shade_style(piece)) if style else Text(f"[[{text}]]" if piece.peak else text)


def _value(one: NeuronOnText, i: int) -> str:
    return number(float(one.activations[i]))


def _gain(a: NeuronOnText, b: NeuronOnText) -> str:
    if isfinite(a.peak_share) and isfinite(b.peak_share):
        return f"{percent(a.peak_share)} → {percent(b.peak_share)}"
    return f"{number(a.peak_activation)} → {number(b.peak_activation)}"


def quantile(share: float) -> str:
    """A share as `99.9 %`, rounded down, so that only a value above all is 100 %; an en dash if NaN."""
    if not isfinite(share):
        return "–"
    return "100 %" if share >= 1 else f"{int(1000 * share) / 10:.1f} %"
