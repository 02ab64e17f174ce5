"""One neuron on a terminal and in a pipe."""

import io
import re
import unicodedata

import pytest
from rich.cells import cell_len

from neurolocal.errors import StoreError
from neurolocal.render.visible import HIDDEN
from neurolocal.report.layer import read_layer
from neurolocal.report.neuron import show
from neurolocal.report.rows import report_rows
from neurolocal.report.sections import figures


def shown(store, layer, neuron, **settings):
    out = io.StringIO()
    show(store, layer, neuron, out=out, **settings)
    return out.getvalue()


def test_show_golden(small_store, golden):
    store = small_store()
    neuron = next(r.neuron for r in report_rows(store, [5]) if r.similarity == r.similarity and r.perturbation > 0)
    golden("show.txt", shown(store, 5, neuron, width=80))


@pytest.mark.parametrize("hostile_corpus", [False, True])
def test_it_fits_80_columns_with_the_examples_before_the_figures(small_store, hostile_corpus, monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    monkeypatch.setattr("sys.__stdout__", None)
    store = small_store(hostile=hostile_corpus)
    for neuron in range(12):
        lines = shown(store, 5, neuron).splitlines()
        assert max(map(cell_len, lines)) <= 80
        heads = [line for line in lines if line in ("words", "evidence", "statistics", "examples · largest activation")]
        assert heads == ["examples · largest activation", "words", "evidence", "statistics"]


def test_every_figure_is_whole_beside_its_null_at_80_columns(small_store):
    store = small_store()
    read = read_layer(store, 5)
    for neuron in range(12):
        text = " ".join(shown(store, 5, neuron, width=80).split())
        for figure in figures(read, neuron):
            parts = (figure.name, figure.text, figure.null_text, figure.test)
            assert all(" ".join(part.split()) in text for part in parts if part), figure


def test_a_terminal_without_colour_has_marks(small_store, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")  # rich renders a style once, for the first console's colours
    for no_color in ("1", ""):
        monkeypatch.setenv("NO_COLOR", no_color)
        out = Terminal()
        show(small_store(seed=4), 2, 0, out=out, width=80)
        assert ("[[" in out.getvalue()) == bool(no_color)
        assert ("48;" in out.getvalue()) == (not no_color)


def test_no_escape_sequences_in_a_pipe(small_store):
    assert "\x1b" not in shown(small_store(hostile=True), 2, 1, width=100)


def test_every_peak_is_marked_once_and_line_breaks_are_visible(small_store):
    store = small_store(seed=4, hostile=True)
    text = shown(store, 2, 0, width=100)
    assert text.count("[[") == text.count("]]") == 4
    assert not any(unicodedata.category(c) in HIDDEN for c in text.replace("\n", ""))
    for example in store.examples(2, 0):
        assert f"row {example.row}, position {example.position}" in text
    color = shown(store, 2, 0, width=100, color=True)
    assert "[[" not in color
    assert re.search(r"\x1b\[1;4;38;2;255;255;255;48;2;", color)


def test_missing_evidence_is_named(small_store):
    text = shown(small_store(stages=()), 2, 0, width=100, limit=1)
    assert "none yet: neither similarity nor perturbation has measured this neuron" in text
    assert "examples · largest activation · 1 of 4" in text
    assert "nan" not in text.lower()
    assert "examples · smallest activation\n 1  -9.00" in shown(small_store(), 2, 0, width=100, side="smallest")


def test_a_neuron_or_layer_that_is_not_in_the_store(small_store):
    for neuron in (12, -1):
        with pytest.raises(StoreError, match=r"^showing neuron -?\d+ of layer 2: the store holds 12 .*, 0 to 11$"):
            shown(small_store(), 2, neuron)
    with pytest.raises(StoreError, match=r"looking for layer 4 .*: it holds layers 2,5 "):
        shown(small_store(), 4, 0)


def test_words_that_replaced_the_peak_word(small_store):
    store = small_store()
    neuron = int(store.evidence("perturbation", 2).neuron[0])
    text = shown(store, 2, neuron, width=100)
    assert "\n  raise it  Friday 110 %\n  neighbours  Friday 110 %, Tuesday 75 %\n  controls  rain 5 %\n" in text
