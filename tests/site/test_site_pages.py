"""The pages: complete, linked, escaped, small, and a pure function of the store and the name."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from site_twins import CALL, Read, SmallStore, data, opened

from neurolocal.errors import StoreError
from neurolocal.records import N_BANDS, Bands
from neurolocal.render.visible import HIDDEN, visible
from neurolocal.report.rows import report_rows
from neurolocal.site.example_lists import BUDGET
from neurolocal.site.layer_rows import LayerRow, layer_rows
from neurolocal.site.pages import Pages
from neurolocal.store import Store
from neurolocal.words import Vocabulary

LARGEST_PAGE = 200_000


@pytest.fixture(scope="module")
def store() -> Store:
    return opened()


@pytest.fixture(scope="module")
def pages(store: Store) -> Pages:
    return Pages(store)


@pytest.fixture(scope="module")
def hostile() -> dict[str, bytes]:
    """Every file of the site of a hostile store."""
    made = Pages(opened(hostile=True, neurons=24, k=6))
    return {name: made.read(name) or b"" for name in made.names()}


def test_intervals_stand_under_the_largest_examples(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def bands(layer: int, chosen: slice = slice(None)) -> Bands:
        top, shape = store.top(layer, "largest"), (len(store.neurons(layer)), N_BANDS, 1)
        nothing = np.full(shape, np.nan, np.float32), np.full(shape, -1), np.full(shape, -1, np.int32)
        made = Bands(*nothing, np.zeros(shape[:2], np.int64))
        for name in ("activation", "row", "position"):
            getattr(made, name)[:, 0, 0] = getattr(top, name)[:, 0]
        made.count[:, 0] = 7
        return Bands(*(getattr(made, name)[chosen] for name in vars(made)))

    monkeypatch.setattr(store, "bands", bands)
    name = next(n for n in Pages(store).names() if n.startswith("neuron/2/"))
    page = (Pages(store).read(name) or b"").decode()
    example = next(iter(store.examples(2, int(Path(name).stem))))
    marks = ("largest", "By interval</h2>", "1 interval of activation,", "7 rows", "<aside")
    at = [page.index(mark) for mark in marks]
    assert at == sorted(at)
    peak = store.vocabulary.str_tokens(example.tokens[[example.peak]])[0]
    assert f"<mark>{visible(peak.lstrip(' '))}</mark>" in page[at[1] : at[-1]]


def read(pages: Pages, name: str) -> Read:
    content = pages.read(name)
    assert content is not None, name
    return Read(content)


def test_every_name_is_a_file_and_every_link_leads_to_one(pages: Pages) -> None:
    names = list(pages.names())
    assert len(names) == len(set(names))
    assert {"index.html", "search.html", "layer/2/index.html", "neuron/5/11.html"} <= set(names)
    for name in names:
        content = pages.read(name)
        assert content, name
        if name.endswith(".html"):
            assert Read(content).links(name) <= set(names), name


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "index.htm", "INDEX.HTML", "index.html\n", "/index.html", "./index.html", "../index.html",
        "layer/2/../2/index.html", "neuron/2/012.html", "neuron/2/99.html", "neuron/9/1.html", "neuron/2/-1.html",
        "neuron/2/1.html/", "neuron/2/١.html", "layer/3/index.html", "layer/2/rows-7.js", "rows/99.js",
        "search/word-99.js", "search/words.js", "search/token--1.js", "assets/", "assets/ask.js", "assets/macros.html",
        "assets/../pages.py", "neuron/2/1.html\0", "neuron/2/" + "9" * 400 + ".html",
    ],
)  # fmt: skip
def test_no_other_name_is_a_file(pages: Pages, name: str) -> None:
    assert pages.read(name) is None


@given(
    name=st.text(max_size=30) | st.from_regex(r"(layer|neuron|rows|search|assets)/[a-z0-9./-]{1,12}", fullmatch=True)
)
def test_whatever_is_asked_for(pages: Pages, name: str) -> None:
    assert pages.read(name) is None or name in set(pages.names())


def test_the_same_bytes_in_any_order(store: Store, pages: Pages) -> None:
    names = list(pages.names())
    again = Pages(store, kept=1)
    backwards = {name: again.read(name) for name in reversed(names)}
    assert backwards == {name: pages.read(name) for name in names}


def test_golden(pages: Pages) -> None:
    path, content = Path(__file__).parent / "golden" / "neuron.html", pages.read("neuron/2/4.html")
    assert content is not None
    if os.environ.get("NEUROLOCAL_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    assert content.decode() == path.read_text("utf-8"), "changed; if that is meant, run with NEUROLOCAL_GOLDEN=write"


def test_a_neuron_page_says_what_the_report_says(store: Store, pages: Pages) -> None:
    for row in report_rows(store):
        page = read(pages, f"neuron/{row.layer}/{row.neuron}.html")
        said = [row.verdict or "no verdict", f"rank {row.rank} of 12", row.reason, row.description]
        for text in filter(None, said):
            assert text in page.text, (row.layer, row.neuron, text)
        assert sum(tag == "mark" for tag, _ in page.tags) == 2 * 4
        for word, n in row.words.items():
            assert f"×{n}" in page.text
            assert word.strip() in page.text


def test_values_and_ids_are_beside_every_token(store: Store, pages: Pages) -> None:
    page = (pages.read("neuron/2/4.html") or b"").decode()
    windows = re.findall(r'<p class=w dir=auto data-a="([^"]*)" data-t="([^"]*)">(.*?)</p>', page)
    examples = store.examples(2, 4) + store.examples(2, 4, "smallest")
    assert len(windows) == len(examples)
    for (values, ids, body), example in zip(windows, examples, strict=True):
        elements = len(re.findall(r"<(?:i|mark)\b", body))
        assert len(values.split()) == len(ids.split()) == elements
        assert [int(i) for part in ids.split() for i in part.split("+")] == example.tokens.tolist()
        if elements == len(example.tokens):
            np.testing.assert_allclose([float(v) for v in values.split()], example.activations, rtol=5e-3)


def test_a_layer_page_lists_all_neurons(store: Store, pages: Pages) -> None:
    rows = data(pages.read("layer/5/rows-0.js") or b"", "layer/5/rows-0.js")
    assert [row[0] for row in rows] == store.neurons(5).tolist()
    shown = [a["href"] for a in read(pages, "layer/5/index.html").all("a") if "/neuron/5/" in str(a["href"])]
    ranked = [row.neuron for row in report_rows(store, [5])]
    assert shown == [f"../../neuron/5/{neuron}.html" for neuron in ranked]


def test_a_figure_without_its_null_is_shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_null(*of: Any) -> list[LayerRow]:
        return [row._replace(coherence=0.5, coherence_null=None, half=0.25, half_null=None) for row in layer_rows(*of)]

    monkeypatch.setattr("neurolocal.site.pages.layer_rows", without_null)
    text = (Pages(store).read("layer/5/index.html") or b"").decode()
    assert '<b>0.50</b> <span class="null">(–)</span>' in text
    assert '<b>25 %</b> <span class="null">(–)</span>' in text


def test_some_layers_some_neurons_and_the_best(store: Store) -> None:
    some = Pages(store, layers=[5], neurons=[1, 3, 99])
    assert [name for name in some.names() if name.startswith("neuron/")] == ["neuron/5/1.html", "neuron/5/3.html"]
    assert read(some, "neuron/5/1.html").links("neuron/5/1.html") >= {"neuron/5/3.html", "layer/5/index.html"}
    assert "12 chosen" not in read(some, "index.html").text
    assert "2 chosen neurons" in read(some, "index.html").text
    assert some.read("neuron/2/1.html") is None
    best = Pages(store, top=3)
    expected = {f"neuron/{r.layer}/{r.neuron}.html" for r in report_rows(store, limit=3)}
    assert {name for name in best.names() if name.startswith("neuron/")} == expected
    for name in best.names():
        if name.endswith(".html"):
            assert read(best, name).links(name) <= set(best.names())
    with pytest.raises(StoreError, match="none of the layers 2, 5 has them"):
        Pages(store, neurons=[500])
    with pytest.raises(StoreError, match="layer 9"):
        Pages(store, layers=[9])


def test_live_pages_have_the_text_box_and_may_ask_their_server(store: Store) -> None:
    live = Pages(store, live=True)
    page = read(live, "neuron/2/4.html")
    (box,) = [a for tag, a in page.tags if tag == "div" and a.get("id") == "ask"]
    assert box == {"id": "ask", "data-layer": "2", "data-neuron": "4", "hidden": None}
    assert "../../assets/ask.js" in [a.get("src") for a in page.all("script")]
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv")]
    assert "connect-src 'self'" in str(policy)
    assert "file:" not in str(policy)
    assert live.read("assets/ask.js") is None
    plain = read(Pages(store), "neuron/2/4.html")
    assert not any(a.get("id") == "ask" for _, a in plain.tags)


def test_only_our_own_script_and_style_and_nothing_from_outside(hostile: dict[str, bytes]) -> None:
    for name, content in hostile.items():
        if not name.endswith(".html"):
            continue
        page = Read(content)
        assert not {tag for tag, _ in page.tags} & {"img", "iframe", "object", "embed", "base", "style", "use", "video"}
        for tag, attributes in page.tags:
            assert not any(key.startswith("on") or key in ("style", "srcset", "action") for key in attributes), name
            for key in ("href", "src"):
                target = attributes.get(key) or "#"
                assert re.fullmatch(r"#.*|(\.\./)*[a-z0-9/.]+", target), (tag, target)
        assert [a["src"] for a in page.all("script")] == [a["src"] for a in page.all("script") if a.get("src")]
        (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
        assert policy == (
            "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src 'self' file:; "
            "base-uri 'none'; form-action 'none'"
        )


def test_hostile_text_is_shown_as_text(hostile: dict[str, bytes]) -> None:
    shown = "".join(Read(content).text for name, content in hostile.items() if name.endswith(".html"))
    for text in (
        "</script><img src=x onerror=alert(1)>",
        "{{ 7*7 }}{% raw %}",
        "⟨U+202E⟩evil⟨U+2066⟩",
        "⟨U+0000⟩⟨U+001B⟩[",
    ):
        assert text in shown
    assert "x" * 200 + "…(+4,800)" in shown
    assert "x" * 201 not in shown


def test_no_file_contains_a_hidden_character_and_scripts_are_one_call(hostile: dict[str, bytes]) -> None:
    for name, content in hostile.items():
        text = content.decode().replace("\n", "")
        assert not any(unicodedata.category(c) in HIDDEN for c in text), name
        if name.endswith(".js") and not name.startswith("assets/"):
            assert CALL.fullmatch(content), name
            assert b"<" not in content
            data(content, name)


def test_a_page_has_at_most_200_kb_whatever_the_tokens_are() -> None:
    texts = ["</i>" * 300, "\u202e" * 1_000, "€&\"'<" * 300]
    store = _with_tokens(texts)
    made = Pages(store)
    sizes = [len(made.read(name) or b"") for name in made.names() if name.startswith("neuron/")]
    assert max(sizes) <= LARGEST_PAGE
    assert max(sizes) > BUDGET / 2, "the store should have more than a page has room for"
    some = [made.read(name) or b"" for name in made.names() if name.startswith("neuron/")]
    assert any(b"more are in the store" in page for page in some)


def _with_tokens(texts: list[str]) -> Store:
    """A store in which every token is one of these texts."""
    small = SmallStore(layers=(2,), neurons=2, k=40)
    pieces = [texts[i % len(texts)].encode() for i in range(len(small.vocabulary.tokens))]
    small.vocabulary = Vocabulary(pieces, small.vocabulary.special)
    return Store(small.write(Path(mkdtemp(prefix="neurolocal-site-")) / "long.h5"))


@pytest.mark.parametrize("settings", [{"stages": ()}, {"neurons": 0}, {"stages": ("similarity",)}])
def test_missing_evidence_makes_pages_all_the_same(settings: dict[str, Any]) -> None:
    made = Pages(opened(**settings))
    for name in made.names():
        content = made.read(name)
        assert content, name
        if name.endswith(".html"):
            assert not re.search(r"\bnan\b|\bNone\b", Read(content).text), name
