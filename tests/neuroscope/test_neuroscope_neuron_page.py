"""One page: untrusted text, number formats, and no reference to a network."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace

import numpy as np
from export_twins import HOSTILE, accepted, page_of, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.neuroscope.export.neuron_page import PageText, quoted


@settings(max_examples=60)
@given(st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=6)), min_size=1, max_size=70), st.data())
def test_no_token_breaks_a_page_or_a_reader(tokens, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    names = {name: data.draw(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=9))) for name in ("model", "dataset")}
    texts = texts_of(rng, 20, tokens=tokens)
    page = page_of(texts, **names, facts={"site": "post", "other": "".join(tokens)})
    accepted(page, texts)
    page.encode()
    facts = re.findall(r"^<!-- neurolocal (\{.*\}) -->$", page.split("<hr>")[0], re.MULTILINE)
    assert [json.loads(x)["other"] for x in facts] == ["".join(tokens)]
    assert page.count("<script") == page.count("</script>") == 41
    assert len(re.findall("^<hr>$", page, re.MULTILINE)) == page.count("<hr>") == 21
    assert not re.search("[\0\u2028\u202e]", page)
    assert not any(re.search("[<>&]", line.partition(" )")[0]) for line in page.split("\n") if line[:7] == "render(")


def test_a_neuron_that_is_never_active_has_no_negative_zero(rng):
    texts = [PageText(1, 0, ["a", "b"], np.array([0.0, -0.0], np.float32))] * 20
    page = page_of(texts)
    accepted(page, texts)
    assert "Max Range: <b>0.0000</b>. Min Range: <b>0.0000</b>" in page
    assert "-0.0" not in page.partition("<hr>")[2]


def test_tokens_encoded_before_give_the_same_page(rng):
    texts = texts_of(rng, 20, tokens=HOSTILE)
    assert page_of(texts) == page_of([replace(t, encoded=[quoted(one) for one in t.tokens]) for t in texts])


def test_nothing_on_a_page_refers_to_a_network(made):
    _, site = made
    for file in site.rglob("*.html"):
        page = file.read_text("utf-8")
        assert "default-src 'none'" in html.unescape(page)
        assert not re.search(r"""(?:href|src|url|action)\s*[=(]\s*["']?(?:\w+:|//)|https?:|//[a-z]+\.""", page), file
        for inline in re.findall(r'from "([^"]*)"', page):
            assert inline == "circuits"
        for target in re.findall(r'<script type="importmap".*?>(.*?)</script>', page):
            assert all(url.startswith("data:") for url in json.loads(target)["imports"].values())
