"""The page of a comparison: self-contained, escaped, true to the figures, the same bytes each time."""

import base64
import hashlib
import re
import sys
import unicodedata
from html.parser import HTMLParser

import numpy as np
import pytest
from compare_twins import lists, words, write_store

from neurolocal.errors import NeurolocalError
from neurolocal.neuroscope.compare.compare import compare
from neurolocal.neuroscope.compare.comparison_page import (
    CELLS,
    SHADES,
    comparison_page,
    density,
    histograms,
    write_comparison,
)
from neurolocal.render.visible import HIDDEN
from neurolocal.words import Vocabulary

pytest.importorskip("jinja2", reason="the page needs the extra `site`")

HOSTILE = [
    b"</script><img src=x onerror=alert(1)>",
    "\u202eevil\u2066".encode(),
    b"{{ 7*7 }}{% raw %}",
    b"\x00\x1b[31m",
]
VOID = {"meta", "path", "line", "rect"}


class Reader(HTMLParser):
    """Tags with attributes, texts, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.open, self.style = [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.texts.append(data)


@pytest.fixture
def compared(rng, tmp_path):
    """Two stores whose tokens and names attack a page."""
    v, tokens = words(rng, 40), rng.integers(1, 45, (40, 20))
    n = len(v.tokens) + len(HOSTILE)
    v = Vocabulary([*v.tokens, *HOSTILE], np.arange(n) == 0)
    # Half of all positions are hostile, so that a page of 24 neurons cannot be without.
    hostile = rng.random(tokens.shape) < 0.5
    tokens[hostile] = rng.integers(n - len(HOSTILE), n, hostile.sum())
    paths = []
    for name, rows in (("a", 40), ("b", 90)):
        made = {i: lists(rng, neurons=8, k=4, rows=40, length=20) for i in (0, 1, 2)}
        about = {"subject": {"name": "<b>m</b>\u202e", "sha256": name * 64}}
        paths.append(
            write_store(tmp_path / f"{name}.h5", rng, vocabulary=v, tokens=tokens, layers=made, rows=rows, **about)
        )
    return compare(*paths, say=lambda line: None, bar=False)


def test_nothing_but_our_own_tags_and_nothing_from_outside(compared):
    text = comparison_page(compared)
    read = Reader(text)
    assert read.open == []
    names = {tag for tag, _ in read.tags}
    assert not names & {"script", "img", "iframe", "object", "embed", "link", "base", "image", "use"}
    for _, attributes in read.tags:
        assert not {"src", "style", "srcset", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"https?:|url\(|@import", text)
    kept = text.replace("\n", "").replace("…", "")
    assert not any(unicodedata.category(c) in HIDDEN for c in kept)


def test_hostile_text_is_shown_as_text(compared):
    said = "".join(Reader(comparison_page(compared)).texts)
    assert "<b>m</b>⟨U+202E⟩" in said
    assert "</script><img" in said
    assert "{{ 7*7 }}" in said
    assert not re.search(r"\bnan\b", said)
    assert "None" not in said


def test_the_policy_allows_the_pages_own_style_and_nothing_else(compared):
    read = Reader(comparison_page(compared))
    policy = next(a["content"] for _, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(read.style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_every_layer_and_note_is_there(compared):
    said = " ".join("".join(Reader(comparison_page(compared)).texts).split())
    for note in compared.notes:
        assert " ".join(note.split()) in said
    for one in compared.layers:
        assert f"layer {one.layer} · 8 neurons" in said


def cells(density):
    """Back from paths to a grid of shades."""
    grid = np.zeros((CELLS, CELLS), int)
    for shade, path in density.shades:
        for x, y, run in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", path):
            grid[CELLS - 1 - int(y), int(x) : int(x) + int(run)] = shade
    return grid


def test_densities_hold_every_neuron_in_its_cell(compared, rng):
    for one in compared.layers:
        own, theirs = one.neurons.own, one.neurons.theirs
        drawn = density(one)
        low, high = np.log10(min(own.min(), theirs.min())), np.log10(max(own.max(), theirs.max()))
        spread = 1.04 * max(high - low, 0.1)
        counts = np.zeros((CELLS, CELLS), int)
        for a, b in zip(own, theirs, strict=True):
            y, x = (int((np.log10(v) - (low - 0.02 * max(high - low, 0.1))) / spread * CELLS) for v in (a, b))
            counts[y, x] += 1
        grid = cells(drawn)
        assert counts.sum() == drawn.neurons == 8
        for (y, x), n in np.ndenumerate(counts):
            assert grid[y, x] == (0 if n == 0 else min(int(n).bit_length(), SHADES))
        expected = np.log10(one.figures.ratio_expected) / spread * CELLS
        assert drawn.expected == pytest.approx(expected)


def test_histograms_add_up(compared):
    for name, one in zip(("rbo", "jaccard"), histograms(compared), strict=True):
        heights = [float(h) for h in re.findall(r"v-([\d.]+)h", one.bars)]
        assert sum(heights) / 40 * one.most == pytest.approx(1, abs=0.01)
        assert one.mean == getattr(compared.overall, name)
        assert one.null.count("V") == 21


def test_dead_and_unknown_neurons_are_counted_not_drawn(tmp_path):
    (tmp_path / "a.json").write_text("[[0, 0, -0.5, 2, 3, 4, 5]]")
    (tmp_path / "b.json").write_text("[[1, 2, 3, 2.5, 3, 0, 9]]")
    c = compare(tmp_path / "a.json", tmp_path / "b.json", say=lambda line: None, bar=False)
    drawn = density(c.layers[0])
    assert (drawn.neurons, drawn.left_out) == (3, 4)
    text = comparison_page(c)
    assert "4 left out (a maximum is unknown or not above 0)" in text
    assert "RBO" not in text
    (tmp_path / "z.json").write_text("[[0, 0, 0]]")
    nothing = compare(tmp_path / "z.json", tmp_path / "z.json", say=lambda line: None, bar=False)
    assert Reader(comparison_page(nothing)).open == []


def test_same_comparison_same_bytes_and_whole_or_not_at_all(compared, tmp_path):
    path = tmp_path / "page.html"
    write_comparison(compared, path)
    first = path.read_bytes()
    write_comparison(compared, path)
    assert path.read_bytes() == first
    assert first.decode() == comparison_page(compared)
    with pytest.raises(NeurolocalError, match="Make the folder"):
        write_comparison(compared, tmp_path / "none" / "page.html")


def test_without_jinja2_the_error_says_what_to_install(compared, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(NeurolocalError, match=r"pip install 'neurolocal\[site\]'"):
        comparison_page(compared)
