"""The HTML page: self-contained, escaped, complete, and the same bytes each time."""

import base64
import hashlib
import re
import sys
import unicodedata
from html.parser import HTMLParser

import pytest

from neurolocal.errors import NeurolocalError
from neurolocal.render.visible import HIDDEN
from neurolocal.report.page import page, write_page
from neurolocal.report.rows import report_rows

pytest.importorskip("jinja2", reason="the page needs the extra `site`")

VOID = {"meta", "input", "img", "br", "link", "rect"}


class Reader(HTMLParser):
    """What a browser would make of the page: tags with attributes, texts, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.open, self.raw = [], [], [], {}
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
        if self.open and self.open[-1] in ("style", "script"):
            self.raw[self.open[-1]] = self.raw.get(self.open[-1], "") + data
        else:
            self.texts.append(data)


def without_code(text):
    return re.sub(r"(<(style|script)>).*?(</\2>)", r"\1\3", text, flags=re.DOTALL)


def test_golden(stand_in, golden):
    text = without_code(page(stand_in(layers=(2,), neurons=3, k=2), cards=2))
    golden("page.html", re.sub(r"sha256-[^&]*", "sha256-…", text))


@pytest.mark.parametrize("hostile_corpus", [False, True])
def test_nothing_but_our_own_tags_and_nothing_from_outside(stand_in, hostile_corpus):
    text = page(stand_in(hostile=hostile_corpus, neurons=24, k=6))
    read = Reader(text)
    assert read.open == []
    names = {tag for tag, _ in read.tags}
    assert not names & {"img", "iframe", "object", "embed", "link", "base", "image", "use", "video", "audio"}
    assert [tag for tag, _ in read.tags].count("script") == 1
    for _, attributes in read.tags:
        assert not {"src", "style", "srcset", "action", "formaction"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp|WebSocket", text)
    kept = text.replace("\n", "").replace("\u2026", "")
    assert not any(unicodedata.category(c) in HIDDEN for c in kept)


def test_hostile_text_is_shown_as_text(stand_in):
    said = "".join(Reader(page(stand_in(hostile=True, neurons=24, k=6))).texts)
    assert "</script><img src=x onerror=alert(1)>" in said
    assert "{{ 7*7 }}{% raw %}" in said
    assert "⟨U+202E⟩evil⟨U+2066⟩" in said
    assert "⟨U+0000⟩⟨U+001B⟩[31m" in said
    assert "x" * 200 + "…(+4,800)" in said
    assert "x" * 201 not in said


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else(stand_in):
    read = Reader(page(stand_in()))
    policy = next(a["content"] for _, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    hashes = [
        base64.b64encode(hashlib.sha256(read.raw[name].encode()).digest()).decode() for name in ("style", "script")
    ]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_every_neuron_is_a_row_and_the_best_have_cards(stand_in):
    store = stand_in()
    read = Reader(page(store, cards=3))
    rows = [a for tag, a in read.tags if tag == "tr" and "data-verdict" in a]
    expected = report_rows(store)
    assert [(a["data-layer"], a["data-verdict"]) for a in rows] == [(str(r.layer), r.verdict) for r in expected]
    ids = [a["id"] for tag, a in read.tags if tag == "article"]
    assert ids == [f"n-{r.layer}-{r.neuron}" for r in expected if r.rank < 3 and r.verdict != "dead"]
    links = {a["href"][1:] for tag, a in read.tags if tag == "a"}
    assert set(ids) <= links <= {a["id"] for _, a in read.tags if "id" in a}
    every = [a["id"] for _, a in read.tags if "id" in a]
    assert len(every) == len(set(every))
    assert sum(tag == "mark" for tag, _ in read.tags) == 4 * len(ids)


def test_what_is_left_out_is_said(stand_in):
    text = page(stand_in(), rows=5, cards=0)
    assert "14 lower-ranked neurons are not on this page" in text
    assert "<article" not in text
    assert "not on this page" not in page(stand_in())


def test_dead_neurons_have_no_card(stand_in):
    store = stand_in()
    dead = [f"n-{r.layer}-{r.neuron}" for r in report_rows(store) if r.verdict == "dead"]
    text = page(store, cards=99)
    assert len(dead) == 2
    assert not any(f'id="{name}"' in text for name in dead)
    assert text.count("<article") == 22


@pytest.mark.parametrize("settings", [{"stages": ()}, {"neurons": 0}, {"layers": ()}, {"stages": ("similarity",)}])
def test_missing_evidence_makes_a_page_all_the_same(stand_in, settings):
    read = Reader(page(stand_in(**settings)))
    assert read.open == []
    said = " ".join(read.texts)
    assert not re.search(r"\bnan\b|None", said)


def test_a_bare_manifest_makes_a_page(stand_in):
    store = stand_in()
    store.manifest = {}
    assert Reader(page(store)).open == []
    store.manifest = {"subject": "a name", "corpus": None, "complete": False}
    assert "not finished" in page(store)


def test_same_store_same_bytes_and_whole_or_not_at_all(stand_in, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    write_page(stand_in(hostile=True), path=path)
    first = path.read_bytes()
    write_page(stand_in(hostile=True), path=path)
    assert path.read_bytes() == first
    store = stand_in()
    store.statistics = None
    with pytest.raises(TypeError):
        write_page(store, path=path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_without_jinja2_the_error_says_what_to_install(stand_in, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(NeurolocalError, match=r"pip install 'neurolocal\[site\]'"):
        page(stand_in())
