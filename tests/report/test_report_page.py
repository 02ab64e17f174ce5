"""The HTML page: self-contained, escaped, complete, and the same bytes each time."""

import base64
import hashlib
import re
import sys
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from neurolocal.errors import NeurolocalError, StoreError
from neurolocal.render.visible import HIDDEN
from neurolocal.report.page import EXCERPTS, page, write_page
from neurolocal.report.rows import report_rows
from neurolocal.store import Store, add_evidence

pytest.importorskip("jinja2", reason="the page needs the extra `site`")

VOID = {"meta", "input", "img", "br", "link", "rect"}


class Reader(HTMLParser):
    """The page as a browser reads it: tags with attributes, texts, and whether every tag is closed."""

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


def test_golden(small_store, golden):
    text = without_code(page(small_store(layers=(2,), neurons=3, k=2), cards=2))
    golden("page.html", re.sub(r"sha256-[^&]*", "sha256-…", text))


@pytest.mark.parametrize("hostile_corpus", [False, True])
def test_only_our_own_tags_and_nothing_from_outside(small_store, hostile_corpus):
    text = page(small_store(hostile=hostile_corpus, neurons=24, k=6))
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


def test_hostile_text_is_shown_as_text(small_store):
    shown = "".join(Reader(page(small_store(hostile=True, neurons=24, k=6))).texts)
    assert "</script><img src=x onerror=alert(1)>" in shown
    assert "{{ 7*7 }}{% raw %}" in shown
    assert "⟨U+202E⟩evil⟨U+2066⟩" in shown
    assert "⟨U+0000⟩⟨U+001B⟩[31m" in shown
    assert "x" * 200 + "…(+4,800)" in shown
    assert "x" * 201 not in shown


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else(small_store):
    read = Reader(page(small_store()))
    policy = next(a["content"] for _, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    hashes = [
        base64.b64encode(hashlib.sha256(read.raw[name].encode()).digest()).decode() for name in ("style", "script")
    ]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_every_neuron_is_a_row_and_the_best_have_cards(small_store):
    store = small_store()
    read = Reader(page(store, cards=3))
    rows = [a for tag, a in read.tags if tag == "tr" and "data-verdict" in a]
    expected = report_rows(store)
    assert [(a["data-layer"], a["data-verdict"]) for a in rows] == [(str(r.layer), r.verdict) for r in expected]
    ids = [a["id"] for tag, a in read.tags if tag == "article"]
    assert ids == [
        f"n-{r.layer}-{r.neuron}" for r in expected if r.rank is not None and r.rank <= 3 and r.verdict != "dead"
    ]
    links = {a["href"][1:] for tag, a in read.tags if tag == "a"}
    assert set(ids) <= links <= {a["id"] for _, a in read.tags if "id" in a}
    every = [a["id"] for _, a in read.tags if "id" in a]
    assert len(every) == len(set(every))
    assert sum(tag == "mark" for tag, _ in read.tags) == 4 * len(ids) + EXCERPTS * (len(rows) - len(ids))


def test_the_number_of_neurons_left_out_is_shown(small_store):
    text = page(small_store(), rows=5, cards=0)
    assert "14 lower-ranked neurons are not on this page" in text
    assert "<article" not in text
    assert "not on this page" not in page(small_store())


def test_dead_neurons_have_no_card(small_store):
    store = small_store()
    dead = [f"n-{r.layer}-{r.neuron}" for r in report_rows(store) if r.verdict == "dead"]
    text = page(store, cards=99)
    assert len(dead) == 2
    assert not any(f'id="{name}"' in text for name in dead)
    assert text.count("<article") == 22


@pytest.mark.parametrize("settings", [{"stages": ()}, {"neurons": 0}, {"stages": ("similarity",)}])
def test_missing_evidence_makes_a_page_all_the_same(small_store, settings):
    read = Reader(page(small_store(**settings)))
    assert read.open == []
    shown = " ".join(read.texts)
    assert not re.search(r"\bnan\b|None", shown)


def test_verdicts_by_similarity_alone_are_called_preliminary(small_store):
    note = "Preliminary: in layers 2, 5 no word has been replaced yet"
    assert note in " ".join(Reader(page(small_store(stages=("similarity", "verdict")))).texts)
    assert "Preliminary" not in page(small_store())
    assert "Preliminary" not in page(small_store(stages=("similarity",)))


def test_a_page_of_no_layers(small_store):
    read = Reader(page(small_store(), []))
    assert read.open == []
    assert "No layers were chosen." in " ".join(read.texts)
    assert not any(tag == "article" or "data-verdict" in attributes for tag, attributes in read.tags)


def test_a_bare_manifest_makes_a_page(small_store, monkeypatch):
    store = small_store()
    bare = {"subject": {}, "corpus": {}, "config": {}, "rows": 0, "tokens": 0, "complete": False}
    monkeypatch.setattr(store, "manifest", {**store.manifest, **bare, "config": {"sites": ["post"]}})
    read = Reader(page(store, []))
    assert read.open == []
    assert "What the neurons of this model stand for" in "".join(read.texts)
    assert "not finished" in read.texts


def test_same_store_same_bytes_and_whole_or_not_at_all(small_store, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    write_page(small_store(hostile=True), path=path)
    first = path.read_bytes()
    write_page(small_store(hostile=True), path=path)
    assert path.read_bytes() == first
    store = small_store()
    unknown = replace(store.evidence("verdict", 5), verdict=["?"] * 12)
    add_evidence(store.path, [("verdict", 5, "largest", unknown, {})], site="post")
    with Store(store.path) as damaged, pytest.raises(StoreError, match="unknown verdict"):
        write_page(damaged, path=path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_without_jinja2_the_error_names_what_to_install(small_store, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(NeurolocalError, match=r"pip install 'neurolocal\[site\]'"):
        page(small_store())
