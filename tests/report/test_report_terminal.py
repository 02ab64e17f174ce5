"""The table and the single neuron on a terminal and in a pipe."""

import io
import re
import unicodedata
from dataclasses import replace

import numpy as np
import pytest

from neurolocal.errors import StoreError
from neurolocal.records import SubstituteTable
from neurolocal.render.visible import HIDDEN
from neurolocal.report.neuron import show
from neurolocal.report.rows import report_rows
from neurolocal.report.table import print_table


def table(rows, **settings):
    out = io.StringIO()
    print_table(rows, out=out, **settings)
    return out.getvalue()


def shown(store, layer, neuron, **settings):
    out = io.StringIO()
    show(store, layer, neuron, out=out, **settings)
    return out.getvalue()


@pytest.mark.parametrize("width", [100, 160])
def test_table_golden(stand_in, golden, width):
    golden(f"table-{width}.txt", table(report_rows(stand_in()), width=width, limit=8))


def test_show_golden(stand_in, golden):
    store = stand_in()
    neuron = next(r.neuron for r in report_rows(store, [5]) if r.similarity == r.similarity and r.perturbation > 0)
    golden("show.txt", shown(store, 5, neuron, width=100))


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("hostile_corpus", [False, True])
def test_a_hundred_neurons_are_a_hundred_lines_within_the_width(stand_in, width, hostile_corpus):
    rows = report_rows(stand_in(layers=(2,), neurons=100, hostile=hostile_corpus))
    lines = table(rows, width=width).splitlines()
    assert len(lines) == 102
    assert max(map(len, lines)) <= width
    for line, row in zip(lines[2:], rows, strict=True):
        assert re.match(rf" *{row.rank} +{row.neuron} +{row.score:.3f}  {row.verdict} ", line)
    assert not any(unicodedata.category(c) in HIDDEN for c in "".join(lines))


def test_layers_limit_and_least(stand_in):
    rows = report_rows(stand_in())
    text = table(rows, width=100, limit=3)
    assert text.count("9 more are not shown") == 2
    assert "layer 2 · 12 neurons" in text
    assert "layer 5 · 12 neurons" in text
    least = sorted(r.score for r in rows if r.layer == 5)[5]
    above = sum(r.score >= least for r in rows if r.layer == 5)
    assert 0 < above < 12
    assert f"\n{12 - above} more are not shown" in table([r for r in rows if r.layer == 5], width=100, least=least)


def test_nothing_to_report(stand_in):
    assert table([]) == "no neurons to report\n"
    text = table(report_rows(stand_in(stages=()), [2]), width=100)
    assert "no verdict yet" in text
    assert "nan" not in text


def test_a_pipe_gets_no_escape_sequences_and_a_terminal_gets_colour(stand_in):
    rows = report_rows(stand_in(hostile=True))
    for text in (table(rows, width=160), shown(stand_in(hostile=True), 2, 1, width=100)):
        assert "\x1b" not in text
    assert "\x1b[" in table(rows, width=160, color=True)


def test_show_marks_every_peak_once_and_makes_line_breaks_visible(stand_in):
    store = stand_in(seed=4, hostile=True)
    text = shown(store, 2, 0, width=100)
    assert text.count("[[") == text.count("]]") == 4
    assert not any(unicodedata.category(c) in HIDDEN for c in text.replace("\n", ""))
    for example in store.examples(2, 0):
        assert f"row {example.row}, position {example.position}\n" in text
    color = shown(store, 2, 0, width=100, color=True)
    assert "[[" not in color
    assert re.search(r"\x1b\[1;4;38;2;255;255;255;48;2;", color)


def test_substitutes_are_shares_of_their_own_original_best_first(stand_in):
    store = stand_in()
    store.tables["perturbation", 2] = replace(
        store.tables["perturbation", 2],
        neuron=np.arange(9),
        substitutes=SubstituteTable(
            np.array([0, 0, 0, 0, 0, 0, 1, 0]),
            np.array([0, 0, 1, 1, 0, 2, 0, 1], dtype=np.int32),
            ["original", "neighbour", "original", "neighbour", "control", "neighbour", "neighbour", "neighbour"],
            [" day", " week", " month", "week", " rain", " orphan", " other", " year"],
            np.zeros(8, dtype=np.float32),
            np.array([4, 1, 2, 1, 1, 9, 9, 3], dtype=np.float32),
        ),
    )
    text = shown(store, 2, 0, width=100)
    assert "\n  neighbours  year 150 %, week 50 %, orphan –\n  controls  rain 25 %\n" in text


def test_show_says_what_is_missing(stand_in):
    text = shown(stand_in(stages=()), 2, 0, width=100, limit=1)
    assert "none yet: neither similarity nor perturbation" in text
    assert "examples · largest activation · 1 of 4" in text
    assert "nan" not in text.lower()
    assert "examples · smallest activation\n 0  -9.00" in shown(stand_in(), 2, 0, width=100, side="smallest")


def test_show_of_what_is_not_there(stand_in):
    for neuron in (12, -1):
        with pytest.raises(StoreError, match=r"^showing neuron -?\d+ of layer 2: the store holds 12 .*, 0 to 11$"):
            shown(stand_in(), 2, neuron)
    with pytest.raises(StoreError, match="the store holds layers 2, 5"):
        shown(stand_in(), 4, 0)
