"""The ranked table on a terminal and in a pipe."""

import io
import re
import unicodedata
from collections import Counter

import pytest

from neurolocal.render.visible import HIDDEN
from neurolocal.report.rows import layer_verdicts, report_rows
from neurolocal.report.table import print_table


def table(rows, **settings):
    out = io.StringIO()
    print_table(rows, out=out, **settings)
    return out.getvalue()


@pytest.mark.parametrize("width", [100, 160])
def test_table_golden(small_store, golden, width):
    golden(f"table-{width}.txt", table(report_rows(small_store()), width=width, limit=8))


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("hostile_corpus", [False, True])
def test_a_hundred_neurons_are_a_hundred_lines_within_the_width(small_store, width, hostile_corpus):
    rows = report_rows(small_store(layers=(2,), neurons=100, hostile=hostile_corpus))
    lines = table(rows, width=width).splitlines()
    head = len(lines) - 101  # the counts of verdicts wrap where the terminal is narrow
    assert head == (2 if width == 80 else 1)
    assert " ".join(line.strip() for line in lines[:head]).endswith(" untested")
    assert max(map(len, lines)) <= width
    for line, row in zip(lines[head + 1 :], rows, strict=True):
        assert re.match(rf" *{row.rank} +{row.neuron} +{row.score:.3f}  {row.verdict} ", line)
    assert not any(unicodedata.category(c) in HIDDEN for c in "".join(lines))


def test_layers_limit_and_least(small_store):
    rows = report_rows(small_store())
    text = table(rows, width=100, limit=3)
    assert text.count("9 more are not shown") == 2
    assert "layer 2 · 12 neurons" in text
    assert "layer 5 · 12 neurons" in text
    least = sorted(r.score for r in rows if r.layer == 5)[5]
    above = sum(r.score >= least for r in rows if r.layer == 5)
    assert 0 < above < 12
    assert f"\n{12 - above} more are not shown" in table([r for r in rows if r.layer == 5], width=100, least=least)


def test_nothing_to_report(small_store):
    assert table([]) == "no neurons to report\n"
    text = table(report_rows(small_store(stages=()), [2]), width=100)
    assert "no verdict yet" in text
    assert "nan" not in text


def test_no_escape_sequences_in_a_pipe_and_colour_on_a_terminal(small_store):
    rows = report_rows(small_store(hostile=True))
    assert "\x1b" not in table(rows, width=160)
    assert "\x1b[" in table(rows, width=160, color=True)


def test_the_head_counts_the_whole_layer_and_not_what_is_listed(small_store) -> None:
    store = small_store(seed=2)
    rows = report_rows(store, [2], limit=3)
    out = io.StringIO()
    print_table(rows, out=out, width=100, verdicts={2: layer_verdicts(store, 2)})
    counts = Counter(store.evidence("verdict", 2).verdict)
    assert out.getvalue().startswith("layer 2 · 12 neurons · ")
    assert all(f"{n} {name}" in out.getvalue() for name, n in counts.items())
    assert "9 more are not shown" in out.getvalue()
