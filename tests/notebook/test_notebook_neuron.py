"""One neuron: what it says, its examples, its plot, a text; hostile text shows as text."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest
from asked_run import DESCRIPTIONS

from neurolocal.errors import NeurolocalError
from neurolocal.notebook.plot import plot_histogram
from neurolocal.render.visible import HIDDEN
from neurolocal.report import neuron_object

TAGS = {"div", "style", "b", "small", "ol", "li", "mark", "p", "i", "svg", "path", "table", "tr", "td", "th"}


class Parsed(HTMLParser):
    """The tags of a piece of HTML, their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.said = Counter[str](), set[str](), ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.said += data


def stray(html: str) -> list[str]:
    """Angle brackets that begin none of our tags: text that was not escaped."""
    return re.findall(rf"<(?!/?(?:{'|'.join(sorted(TAGS))})[ >]).{{,20}}", html)


@pytest.fixture(autouse=True)
def _no_window(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    mpl.use("Agg")


def test_it_says_what_the_report_says(opened) -> None:
    neuron, true = opened[2, 5], neuron_object(opened.store, 2, 5)
    assert (neuron.layer, neuron.neuron) == (2, 5)
    assert neuron.description == "names of girls"
    assert neuron.verdict == true["verdict"]
    assert neuron.statistics.maximum == true["statistics"]["maximum"]
    assert neuron.as_json() == true
    line = repr(neuron)
    assert line.startswith(f"<Neuron layer 2 · neuron 5 · {neuron.verdict} · names of girls; 3 examples, largest ")
    assert "\n" not in line
    assert re.fullmatch(r"<Neuron layer 3 · neuron 0; 3 examples, largest \S+>", repr(opened[3, 0]))


def test_it_prints_as_show_does(opened, capsys) -> None:
    opened[2, 5].show(limit=1)
    said = capsys.readouterr().out
    assert "examples · largest activation · 1 of 3" in said
    assert "names of girls" in said


@pytest.mark.parametrize("neuron", [5, 7])
def test_its_html_holds_examples_and_nothing_that_runs(opened, neuron) -> None:
    one = opened[2, neuron]
    for html, marks in ((one._repr_html_(), None), (one.examples._repr_html_(), 3)):
        parsed = Parsed(html)
        assert set(parsed.tags) <= TAGS
        assert not stray(html)
        assert not [name for name in parsed.attributes if name.startswith("on") or name in ("src", "href", "style")]
        assert parsed.tags["mark"] == parsed.tags["li"] == (marks or parsed.tags["li"])
        assert not any(unicodedata.category(c) in HIDDEN for c in parsed.said.replace("\n", ""))
    shown = Parsed(one._repr_html_()).said
    assert DESCRIPTIONS[neuron].replace("\u202e", "⟨U+202E⟩") in shown
    assert len(one._repr_html_()) < 40_000


def test_its_examples_are_a_tuple_that_prints_and_shows_itself(opened) -> None:
    found, true = opened[2, 5].examples, opened.store.examples(2, 5)
    assert tuple in type(found).__mro__
    assert [(e.row, e.position, e.activation) for e in found] == [(e.row, e.position, e.activation) for e in true]
    lines = repr(found).splitlines()
    assert len(lines) == 3
    assert all(re.match(rf" +{i + 1} +\S+  .*<<.+>>", line) for i, line in enumerate(lines))
    table = found.table()
    assert table.activation.tolist() == [e.activation for e in true]
    assert table["rank"].tolist() == [1, 2, 3]
    assert all("<<" in text for text in table.text)
    assert "no examples" in type(found)((), read=found._read)._repr_html_()


def test_its_plot_is_the_histogram(opened) -> None:
    from matplotlib import pyplot

    ax = opened[2, 5].plot()
    counts = opened.store.statistics(2).histogram[5]
    heights, edges, _ = ax.patches[0].get_data()
    some = np.flatnonzero(counts)
    np.testing.assert_array_equal(heights, counts[some[0] : some[-1] + 1])
    assert np.isfinite(edges).all()
    ax.figure.canvas.draw()
    assert ax.get_title(loc="left").startswith("layer 2 · neuron 5")
    _, own = pyplot.subplots()
    assert opened[2, 5].plot(own) is own
    pyplot.close("all")


def test_a_title_is_no_mathtext(opened) -> None:
    from matplotlib import pyplot

    ax = plot_histogram(opened.read(2), 5, title="costs $\\frac{$")
    ax.figure.canvas.draw()
    pyplot.close("all")


def test_what_cannot_be_plotted(opened, monkeypatch) -> None:
    read = opened.read(2)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        NeurolocalError, match=r"matplotlib is not installed\. Run: pip install 'neurolocal\[notebook\]"
    ):
        opened[2, 5].plot()
    kept = read.statistics.histogram[9].copy()
    read.statistics.histogram[9] = 0
    with pytest.raises(NeurolocalError, match="holds no histogram"):
        opened[2, 9].plot()
    read.statistics.histogram[9] = kept


def test_a_text_on_it(opened) -> None:
    found = opened[2, 5].activation_on("Lily saw <b>x</b>\x00\u202e.")
    (true,) = opened.asking.neurons("Lily saw <b>x</b>\x00\u202e.", [(2, 5)]).neurons
    np.testing.assert_array_equal(found.activations, true.activations)
    np.testing.assert_array_equal(found.shares, true.shares)
    np.testing.assert_array_equal(found.quantiles, true.quantiles)
    assert len(found.tokens) == len(found.activations)
    table = found.table()
    assert table.token.tolist() == found.tokens
    assert table.counted.tolist() == [False] + [True] * (len(found.tokens) - 1)
    assert "layer 2 · neuron 5" in repr(found)
    assert "\x1b" not in repr(found)
    parsed = Parsed(found._repr_html_())
    assert set(parsed.tags) <= TAGS
    assert parsed.tags["b"] == 1, "the text's own tags are text"
    for neuron in range(20):  # each shades other tokens
        assert not stray(opened[2, neuron].activation_on("Lily saw <b>x</b>\x00\u202e.")._repr_html_())
    assert parsed.tags["tr"] == 1 + len(found.tokens)
    assert "⟨U+202E⟩" in parsed.said
