"""Answers on a terminal: shades with colour, marks without, hostile text visible, 80 columns."""

from __future__ import annotations

import io
import re
import unicodedata

import numpy as np
import pytest
from rich.cells import cell_len

from neurolocal.asking import Asking, NeuronOnText, TextAnswer, TextToken
from neurolocal.asking.terminal import print_answer, print_comparison, quantile
from neurolocal.render.visible import HIDDEN
from neurolocal.words import Vocabulary

HOSTILE = "a\x1b[31m \u202eevil\u2066 [bold]x[/] <b> \x00 日本語 🙂 e\u0301"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def by_hand(shares: list[float], *, peak: int, description: str = "") -> tuple[TextAnswer, Vocabulary]:
    words = [b"<s>", b" the", b" day", b" Tuesday"]
    tokens = [TextToken(i, w.decode(), i == 0, i > 0) for i, w in enumerate(words)]
    values, share = np.array(shares, np.float32) * 8, np.array(shares, np.float64)
    one = NeuronOnText(3, 17, None, "concept", description, 8.0, peak, values, share, share / 2)
    return TextAnswer("small", "post", "largest", tokens, [one]), Vocabulary(words, np.arange(4) == 0)


def printed(answer, vocabulary, out=None, **how) -> str:
    out = out or io.StringIO()
    print_answer(answer, vocabulary, out=out, **{"width": 80} | how)
    return out.getvalue()


def test_without_colour_tenths_stand_behind_the_token_and_the_peak_is_in_double_brackets() -> None:
    text = printed(*by_hand([0.9, -0.2, 0.31, 0.52], peak=3, description="days"))
    assert "\n    <s> the[ day|3][[ Tuesday|5]]\n" in text
    assert "[token|4]: activation in tenths of the neuron's largest; [[ ]]: the peak" in text
    assert "layer 3 · neuron 17 · concept\n  days\n" in text
    assert "·Tuesday 4.16 · 52 % of its largest (8.00) · above 26.0 % of positions" in text
    assert re.search(r"\n    3 +3  \[\[·Tuesday\]\] +4\.16 +52 % +26\.0 %", text)
    assert re.search(r"\n    0 +0  <s> +7\.20 +– +–", text), "BOS does not count"
    assert "\x1b" not in text


def test_with_colour_tokens_are_shaded_and_nothing_is_marked() -> None:
    text = printed(*by_hand([0.9, -0.2, 0.31, 0.52], peak=3), color=True)
    assert "[[" not in text
    assert "|3]" not in text
    assert re.search(r"\x1b\[38;2;255;255;255;48;2;\d+;\d+;\d+m day\x1b\[0m", text)
    assert re.search(r"\x1b\[1;4;38;2;255;255;255;48;2;\d+;\d+;\d+m Tuesday\x1b\[0m", text)


@pytest.mark.parametrize(("no_color", "term"), [("1", "xterm-256color"), (None, "dumb")])
def test_a_terminal_without_colour_is_marked(monkeypatch, no_color, term) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("COLORTERM", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    else:
        monkeypatch.delenv("NO_COLOR", raising=False)
    text = printed(*by_hand([0, 0, 0.31, 0.52], peak=3), out=Terminal())
    assert "[[ Tuesday|5]]" in text
    assert "48;" not in text


def test_a_terminal_with_colour_is_not(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")  # rich renders a style once, for the first console's colours
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = printed(*by_hand([0, 0, 0.31, 0.52], peak=3), out=Terminal())
    assert "[[" not in text
    assert "\x1b[" in text


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("places", [[(2, 7)], [(2, 7), (1, 0)]])
def test_hostile_text_is_shown_within_80_columns(subject, store, places, color) -> None:
    asking, out = Asking(subject, store), io.StringIO()
    vocabulary = subject.vocabulary
    text = printed(asking.neurons(HOSTILE, places), vocabulary, color=color)
    print_comparison(asking.compare(HOSTILE, "b" + HOSTILE, places), vocabulary, out=out, width=80, color=color)
    for said in (text, out.getvalue()):
        plain = re.sub(r"\x1b\[[0-9;]*m", "", said) if color else said
        assert not any(unicodedata.category(c) in HIDDEN for c in plain.replace("\n", ""))
        assert max(map(cell_len, plain.splitlines())) <= 80
        joined = re.sub(r"\s+", "", plain)
        assert "⟨U+202E⟩" in joined
        assert "[bold]" in joined or not color, "no markup is interpreted"
        assert "</script><imgsrc=xonerror=alert(1)>" in joined


def test_without_a_store_the_peak_is_the_full_shade(subject) -> None:
    text = printed(Asking(subject).neurons("Lily ran home.", [(1, 4)]), subject.vocabulary)
    assert "[token|4]: activation in tenths of the peak" in text
    assert re.search(r"\[\[.*\|10\]\]", text)
    assert "of its largest" not in text
    assert "nan" not in text.lower()


@pytest.mark.parametrize(("sign", "side"), [(-1, "largest"), (1, "smallest")])
def test_without_a_store_a_peak_of_the_other_sign_shades_nothing(sign, side) -> None:
    answer, vocabulary = by_hand([0.9, 0.2, 0.31, 0.02], peak=3)
    one = answer.neurons[0]
    weak = answer._replace(side=side, neurons=[one._replace(extreme=np.nan, activations=sign * one.activations)])
    assert "\n    <s> the day[[ Tuesday]]\n" in printed(weak, vocabulary)


def test_a_neuron_without_a_peak_and_an_answer_without_neurons() -> None:
    answer, vocabulary = by_hand([np.nan] * 4, peak=0)
    silent = answer._replace(neurons=[answer.neurons[0]._replace(peak=None)])
    text = printed(silent, vocabulary)
    assert "no activation at any counted token" in text
    assert "nan" not in text.lower()
    assert "no neuron has a share on this text" in printed(answer._replace(neurons=[]), vocabulary)


def test_a_comparison_shows_both_texts_and_what_changes(subject, store) -> None:
    out = io.StringIO()
    comparison = Asking(subject, store).compare("Lily saw a ball.", "Lily saw a frog.", [(2, 5)])
    print_comparison(comparison, subject.vocabulary, out=out, width=80)
    text, (a,), (b,) = out.getvalue(), comparison.first.neurons, comparison.second.neurons
    assert f"{round(100 * a.peak_share)} % → {round(100 * b.peak_share)} %" in text
    assert re.search(r"token +activation +other token +activation +change", text)
    assert re.search(r"\n  <s> +[-.0-9]+ +<s> +[-.0-9]+ +\S+\n", text), "BOS is the same before both"


@pytest.mark.parametrize(("share", "text"), [(0.9999, "99.9 %"), (1.0, "100 %"), (0.0, "0.0 %"), (float("nan"), "–")])
def test_a_quantile_is_rounded_down(share, text) -> None:
    assert quantile(share) == text
