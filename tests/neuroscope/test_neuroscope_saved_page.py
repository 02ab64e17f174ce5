"""One page -> its texts: exactly, or a named problem for each text of a damaged page."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_twins import HOSTILE, page_html, random_page
from reading_twins import exactly, named, right, said

from neurolocal.neuroscope.export.neuron_page import NeuronPage, PageText, page_text
from neurolocal.neuroscope.read.saved_page import PageError, read_page


@pytest.mark.parametrize("texts", [0, 1, 7, 20, 25])
@pytest.mark.parametrize("crlf", [False, True])
def test_any_number_of_texts_of_any_tokens(rng, texts, crlf):
    page = random_page(rng, texts=texts, length=int(rng.integers(1, 200)), words=HOSTILE)
    exactly(said(page, crlf=crlf), page)


@given(st.data())
@settings(max_examples=60)
def test_any_tokens_and_values(data):
    tokens = st.lists(st.text(max_size=5) | st.sampled_from(HOSTILE), min_size=1, max_size=90)
    page: dict[str, Any] = {"model": "gelu-4l", "dataset": "c4 & code", "layer": 3, "neuron": 14, "texts": []}
    for i in range(data.draw(st.integers(1, 4))):
        own = data.draw(tokens)
        values = data.draw(st.lists(st.integers(-9_999_999, 9_999_999), min_size=len(own), max_size=len(own)))
        page["texts"].append({"index": i * 7, "tokens": own, "values": [v / 1e6 for v in values]})
    escaped = page_html(page).replace("c4 & code</h1>", "c4 &amp; code</h1>").replace("(c4 & code)", "(c4 &amp; code)")
    exactly(escaped.encode(), page)


def test_no_empty_line_between_the_first_rules_or_none_of_them(rng):
    """The site's second section is empty; a page whose second section is a text loses none."""
    page = random_page(rng, texts=3)
    exactly(said(page).replace(b"<hr>\n\n<hr>\n", b"<hr>\n<hr>\n"), page)
    exactly(said(page).replace(b"<hr>\n\n<hr>\n", b"<hr>\n"), page)
    effects = b"<hr>\n<h3>Direct logit effects</h3><p>a, b</p>\n<hr>\n"
    exactly(said(page).replace(b"<hr>\n\n<hr>\n", effects), page)


def cuts(data: bytes) -> list[int]:
    """Where a tag begins or ends, or a line ends."""
    return sorted({at for tag in re.finditer(rb"<[^>\n]{1,40}>|\n|\{\"tok|\]|\}", data) for at in tag.span()})


def test_cut_anywhere_each_text_is_exact_or_named(rng):
    page = random_page(rng, texts=5, length=70, words=HOSTILE)
    data = said(page)
    numbers = set()
    for at in [*cuts(data), *rng.integers(len(data), size=300).tolist()]:
        try:
            read = read_page(data[:at], place=(6, 159))
        except PageError:
            assert at < data.index(b"<hr>")
            continue
        for text in read.texts:
            right(text, page, whole=text.whole)
        missing = set(range(5)) - {text.number for text in read.texts if text.whole}
        if missing:
            assert read.problems
            begun = data[:at].count(b"\n<h2>Text #") - 1
            known = {problem.text for problem in read.problems} | {t.number for t in read.texts}
            assert set(range(begun)) <= known, (at, read.problems)
            numbers |= known
            wrong = {p.text for p in read.problems if p.text is not None} & {t.number for t in read.texts}
            assert not wrong
    assert numbers >= {0, 1, 2, 3, 4}


def test_a_missing_section_is_named_by_its_number(rng):
    page = random_page(rng, texts=6)
    head, *sections = said(page).split(b"<hr>\n<h2>")
    for i in range(5):
        rest = b"<hr>\n<h2>".join([head, *sections[:i], *sections[i + 1 :]])
        if i == 0:
            page_range = max(page["texts"][0]["values"])
            assert page_range == max(max(t["values"]) for t in page["texts"])
        assert named(rest, page) == [f"text {i}: it is not on the page"]


def test_a_missing_rule_hides_no_text(rng):
    page = random_page(rng, texts=4)
    data = said(page)
    at = [m.start() for m in re.finditer(rb"<hr>\n<h2>Text", data)][2]
    assert named(data[:at] + data[at + 5 :], page) == ["text 2: it is not on the page"]


def test_a_page_twice_in_its_file(rng):
    page = random_page(rng, texts=20, length=60)
    data = said(page)
    assert named(data + data, page) == []
    assert len(read_page(data + data).texts) == 20
    for _ in range(30):  # cut, then whole: what was cut is there after all, or named
        read = read_page(data[: int(rng.integers(data.index(b"<h2>Text #0"), len(data)))] + data)
        for text in read.texts:
            right(text, page, whole=text.whole)
        assert {t.number for t in read.texts} | {p.text for p in read.problems} >= set(range(20))


def test_two_different_texts_of_one_number_are_left_out(rng):
    page = random_page(rng, texts=6)
    other = json.loads(json.dumps(page))
    other["texts"][3]["index"] += 1
    data = said(page) + said(other)
    read = read_page(data)
    assert [t.number for t in read.texts] == [0, 1, 2, 4, 5]
    assert [str(p) for p in read.problems] == ["text 3: it is there twice, and the two differ; both are left out"]


def test_another_neurons_page_behind_gives_no_texts(rng):
    page = random_page(rng, texts=7)
    for texts in (5, 12):
        other = random_page(rng, texts=texts, neuron=160, first=500)
        read = read_page(said(page) + said(other))
        assert [t.data_index for t in read.texts] == list(range(7))
        assert "page of neuron 160 of layer 6" in " ".join(map(str, read.problems))


@pytest.mark.parametrize("full", [True, False])
def test_another_neurons_page_behind_a_cut_one_gives_no_texts(rng, full):
    """Even if it has more texts than the rest of the first page, and equally strong ones."""
    page = random_page(rng, texts=20, words=HOSTILE)
    other = random_page(rng, texts=20, neuron=160, first=500)
    other["texts"][0]["values"] = page["texts"][0]["values"]
    data, behind = said(page, full=full), said(other)
    places = [*rng.choice(cuts(data), 150), *rng.integers(len(data), size=150).tolist()]
    for at in places:
        if at < data.index(b"<hr>\n") + 5:
            continue
        read = read_page(data[:at] + behind)
        assert all(text.data_index < 20 for text in read.texts), at
        for text in read.texts:
            right(text, page, whole=text.whole)
        assert read.problems


def test_a_section_of_another_page_is_named(rng):
    page = random_page(rng, texts=9)
    other = random_page(rng, texts=9, neuron=160, first=500)
    other["texts"][0]["values"][3] = 7.5
    mine, theirs = (said(p).split(b"<hr>\n") for p in (page, other))
    for i in range(1, 9):
        spliced = [*mine]
        spliced[i + 2] = theirs[i + 2]
        assert named(b"<hr>\n".join(spliced), page) == [
            f"text {i}: its range is 7.5, the page's {read_page(said(page)).range:g}: another page's text"
        ]
    read = read_page(b"<hr>\n".join([*mine[:4], *theirs[4:]]))  # most are the other's
    assert read.texts == []
    assert "all are left out" in str(read.problems[-1])


def test_the_neuron_of_a_page(rng):
    page = random_page(rng, texts=2)
    data, heading = said(page), b"<h2>Neuron 159 in Layer 6 </h2>"
    assert read_page(data, place=(6, 159)).problems == []
    exactly(data.replace(heading, b"<h2>Neuron 159 in Layer 6</h2>"), page)
    read = read_page(data.replace(heading, b""), place=(6, 159))
    assert (read.layer, read.neuron, len(read.texts)) == (6, 159, 2)
    for bad, place, why in (
        (data.replace(heading, b""), None, "no heading"),
        (data, (6, 158), "its path neuron 158"),
        (data.replace(heading, heading + b"<h2>Neuron 3 in Layer 6 </h2>"), None, "several neurons"),
        (b"", None, "no heading"),
        (b"\x00\xff\x89PNG" * 99, None, "no UTF-8"),
        (data.replace(b"solu", b"s\xfflu", 1), (6, 159), "no UTF-8"),
    ):
        with pytest.raises(PageError, match=why):
            read_page(bad, place=place)


def test_strange_notes_in_the_header(rng):
    """Our own comment, but not JSON: the page counts as ours, and its texts lack checksums."""
    page = random_page(rng, texts=2)
    for note in ("{" + '"a":' * 3000 + "}", '{"a": ' + "[" * 100_000 + "}", "{1}", '{"a": ' + "9" * 5000 + "}"):
        data = said(page).replace(b"<h1>Model", f"<!-- neurolocal {note} -->\n<h1>Model".encode())
        read = read_page(data)
        assert read.texts == []
        assert all("checksum is missing" in str(p) for p in read.problems)


@given(st.data())
@settings(max_examples=60)
def test_our_own_pages_come_back_to_six_decimals(data):
    texts = []
    for _ in range(data.draw(st.integers(1, 3))):
        characters = st.characters(exclude_categories=["Cs"])
        tokens = data.draw(
            st.lists(st.text(characters, max_size=5) | st.sampled_from(HOSTILE), min_size=1, max_size=80)
        )
        values = data.draw(st.lists(st.floats(-1e6, 1e6, width=32), min_size=len(tokens), max_size=len(tokens)))
        position = data.draw(st.integers(0, len(tokens) - 1))
        texts.append(PageText(data.draw(st.integers(0, 10**18 - 1)), position, tokens, np.float32(values)))
    facts = {"side": "largest", "note": data.draw(st.text(max_size=9))}
    made = page_text(NeuronPage("a/b <i>", "d & e", 3, 17, texts, json.loads(json.dumps(facts))))
    read = read_page(made.encode("utf-8", "replace"), place=(3, 17))
    assert read.problems == []
    assert (read.own, read.layer, read.neuron) == (facts, 3, 17)
    assert (read.model, read.dataset) == ("a/b <i>", "d & e")
    for text, given_ in zip(read.texts, texts, strict=True):
        assert (text.data_index, text.position, text.tokens) == (given_.row, given_.position, list(given_.tokens))
        assert (text.whole, text.first, text.dataset) == (True, 0, "d & e")
        assert np.abs(text.values - given_.values.astype(np.float64)).max() <= 5.1e-7
        assert text.largest == pytest.approx(float(given_.values[given_.position]), abs=5.1e-5)
