"""One page -> its texts: in the site's own form exactly, and damaged ones exactly or by a named problem."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_twins import HOSTILE, blob, page_html, random_page

from neurolocal.neuroscope.export.neuron_page import NeuronPage, PageText, page_text
from neurolocal.neuroscope.read.packed import StringNumbers, read_packed
from neurolocal.neuroscope.read.saved_page import PageError, read_page


def said(page, *, crlf=False, **how) -> bytes:
    made = page_html(page, **how)
    return (made.replace("\n", "\r\n") if crlf else made).encode()


def right(text, page, *, whole=True) -> None:
    """A text that was read is the page's, to the last bit."""
    told = page["texts"][text.number]
    at = int(np.argmax(told["values"]))
    assert (text.data_index, text.dataset, text.position) == (told["index"], page["dataset"], at)
    assert (text.whole, text.first) == (whole, 0 if whole else max(at - 50, 0))
    stop = len(told["tokens"]) if whole else at + 11
    assert text.tokens == told["tokens"][text.first : stop]
    assert text.values.astype(np.float32).tobytes() == np.float32(told["values"][text.first : stop]).tobytes()
    assert (text.largest, text.smallest) == (
        float(f"{max(told['values']):.4f}"),
        float(f"{min(told['values']):.4f}"),
    )


def exactly(data: bytes, page, **how) -> None:
    read = read_page(data)
    assert [str(p) for p in read.problems] == ([] if page["texts"] else ["it ends before its first text"])
    assert (read.layer, read.neuron, read.model, read.dataset) == tuple(
        page[name] for name in ("layer", "neuron", "model", "dataset")
    )
    assert [text.number for text in read.texts] == list(range(len(page["texts"])))
    for text in read.texts:
        right(text, page, **how)
    if page["texts"]:
        assert read.range == float(f"{max(max(t['values']) for t in page['texts']):.4f}")
    else:
        assert np.isnan(read.range)
    assert read.own == {}


def named(data: bytes, page, **how) -> list[str]:
    """What is read is right; what is wrong."""
    read = read_page(data, **how)
    for text in read.texts:
        right(text, page, whole=text.whole)
    return [str(problem) for problem in read.problems]


@pytest.mark.parametrize("texts", [0, 1, 7, 20, 25])
@pytest.mark.parametrize("crlf", [False, True])
def test_any_number_of_texts_of_any_tokens(rng, texts, crlf):
    page = random_page(rng, texts=texts, length=int(rng.integers(1, 200)), words=HOSTILE)
    exactly(said(page, crlf=crlf), page)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_tokens_and_values(data):
    tokens = st.lists(st.text(max_size=5) | st.sampled_from(HOSTILE), min_size=1, max_size=90)
    page = {"model": "gelu-4l", "dataset": "c4 & code", "layer": 3, "neuron": 14, "texts": []}
    for i in range(data.draw(st.integers(1, 4))):
        own = data.draw(tokens)
        values = data.draw(st.lists(st.integers(-9_999_999, 9_999_999), min_size=len(own), max_size=len(own)))
        page["texts"].append({"index": i * 7, "tokens": own, "values": [v / 1e6 for v in values]})
    escaped = page_html(page).replace("c4 & code</h1>", "c4 &amp; code</h1>").replace("(c4 & code)", "(c4 &amp; code)")
    exactly(escaped.encode(), page)


def test_a_row_full_of_closing_tags(rng):
    for word in ("</script>", ")</script>", "</script></details>", "</details>", "<hr>", '"values":', '"tokens": '):
        page = random_page(rng, texts=2, length=1024, words=[word])
        exactly(said(page), page)


@pytest.mark.parametrize("crlf", [False, True])
def test_windows_alone(rng, crlf):
    page = random_page(rng, texts=6, length=150, words=HOSTILE)
    exactly(said(page, full=False, crlf=crlf), page, whole=False)


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


def test_a_section_cut_out_is_missed_by_its_number(rng):
    page = random_page(rng, texts=6)
    head, *sections = said(page).split(b"<hr>\n<h2>")
    for i in range(5):
        rest = b"<hr>\n<h2>".join([head, *sections[:i], *sections[i + 1 :]])
        if i == 0:
            page_range = max(page["texts"][0]["values"])
            assert page_range == max(max(t["values"]) for t in page["texts"])
        assert named(rest, page) == [f"text {i}: it is not on the page"]


def test_a_rule_that_is_gone_hides_no_text(rng):
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


def test_a_text_there_twice_that_differs_is_not_believed(rng):
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
    """Even where it has more texts, and as strong ones, than what is left of the first."""
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


def test_whose_page_it_is(rng):
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


def replaced_value(data: bytes, new: str) -> bytes:
    """The same page, a value of text 1 replaced in window and full text alike."""
    head, *sections = data.decode().split("<hr>\n")
    found = re.search(r'"values": \[(?:[^,]*, ){1}([^,]*), ', sections[2])
    assert found
    sections[2] = sections[2].replace(f", {found[1]}, ", f", {new}, ")
    return "<hr>\n".join([head, *sections]).encode()


@pytest.mark.parametrize(
    "new",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "9" * 400,
        "1e39",
        "true",
        "null",
        '"1.0"',
        "[1.0]",
        "{}",
        "",
        "0x1",
        "1 2",
    ],
)
def test_a_value_that_is_no_number_is_named(rng, new):
    page = random_page(rng, texts=3, length=40)
    problems = named(replaced_value(said(page), new), page)
    assert len(problems) == 1
    assert problems[0].startswith("text 1: ")
    assert "\n" not in problems[0]


def test_numbers_as_json_may_write_them(rng):
    page = random_page(rng, texts=3, length=40)
    for new in ("1e-3", "0.1000000000000000055511151231257827", "0", "-0.0", "1E-2"):
        page["texts"][1]["values"][1] = float(new)
        exactly(replaced_value(said(page), new), page)


def edited(page, change) -> bytes:
    """The page, one of its blobs changed as JSON text."""
    head, *sections = page_html(page).split("<hr>\n")
    before, full = sections[2].split("</summary>")
    sections[2] = before + "</summary>" + change(full)
    return "<hr>\n".join([head, *sections]).encode()


def test_json_that_is_not_as_it_should_be(rng):
    page = random_page(rng, texts=3, length=70)
    tokens = json.dumps(page["texts"][1]["tokens"], ensure_ascii=False)
    for change, why in (
        (lambda f: f.replace('"values": [', '"values": [0.5, '), "as many values as tokens"),
        (lambda f: f.replace('"values": [', '"values": [], "values": ['), "key twice"),
        (lambda f: f.replace('{"tokens"', '{"tokens" : ["x"], "tokens"'), "key twice"),
        (lambda f: f.replace('{"tokens"', '{"tokens"' + " " * 90 + ': ["x"], "tokens"'), "key twice"),
        (lambda f: f.replace('"minValue"', '"maxValue": 3, "minValue"'), "key twice|does not hold"),
        (lambda f: f.replace('{"tokens"', '{"more": 1, "tokens"'), "does not hold"),
        (lambda f: f.replace('"tokens"', '"token"'), "does not hold|key twice"),
        (lambda f: f.replace(tokens, "[]"), "as many values as tokens"),
        (lambda f: f.replace(tokens, '"a"'), "as many values as tokens"),
        (lambda f: f.replace(tokens, "[" * 5000 + "]" * 5000), "no whole JSON"),
        (lambda f: f.replace('"<|endoftext|>"', "null"), "window is not|no string"),
        (lambda f: f.replace('"<|endoftext|>"', '"\\ud800"'), "no whole JSON"),
        (lambda f: f.replace('"<|endoftext|>"', '"\\q"'), "no whole JSON"),
        (lambda f: f.replace('"<|endoftext|>"', '"a\tb"'), "no whole JSON"),
        (lambda f: f.replace(" )\n</script>", "\n</script>"), "does not end"),
        (lambda f: f.replace("</script>", "</scrip>"), "does not end"),
        (lambda f: f.replace("</details>", "</detail>"), "does not end"),
        (lambda f: f.replace("ColoredTokens, {", "ColouredTokens, {"), "full text is missing"),
        (lambda f: re.sub(r'"maxValue": [\d.]+', '"maxValue": 9', f), "coloured from"),
        (lambda f: re.sub(r'"maxValue": [\d.]+', '"maxValue": "9"', f), "range that is no number"),
    ):
        data = edited(page, change)
        assert data != said(page)
        problems = named(data, page)
        assert len(problems) == 1, problems
        assert re.search(rf"^text 1: .*({why})", problems[0]), problems


def test_no_strings_in_both_window_and_full_text(rng):
    page = random_page(rng, texts=3, length=40)
    page["texts"][1]["tokens"][2] = "REPLACED"
    for new, why in (("null", "no string"), ("3", "no string"), ("[]", "no string"), ('"\\ud800"', "no whole JSON")):
        problems = named(said(page).replace(b'"REPLACED"', new.encode()), page)
        assert len(problems) == 1
        assert problems[0].startswith("text 1: ")
        assert why in problems[0]
    data = said(page).replace(b"REPLACED", b"\xff\xfe")
    assert len(named(data, page)) == 1
    assert "no UTF-8" in named(data, page)[0]


def test_printed_figures_that_do_not_agree(rng):
    page = random_page(rng, texts=3, length=90)
    data = said(page).decode()
    told = page["texts"][1]
    at = int(np.argmax(told["values"]))
    section = data.split("<hr>\n")[3]
    for pattern, new, why in (
        (r"Max Act: <b>", "Max Act: <b>1", "largest activation"),
        (r"Full Text #1", "Full Text #7", "headed «Full Text #7»"),
        (r"Min Act: <b>-", "Min Act: <b>-1", "smallest activation"),
        (rf"Index: <b>{at}<", f"Index: <b>{at + 1}<", "token index|window is not"),
        (rf"Index: <b>{at}<", "Index: <b>99999<", "beyond any row"),
        (rf"Index: <b>{at}<", "Index: <b>1000<", "behind its 90 tokens"),
        (r"Min Range: <b>-", "Min Range: <b>-1", "not even on both sides"),
        (r"Max Act: <b>", "Max Act: <b>" + "9" * 400, "largest activation"),
        (r"<h4>Data Index.*?</h4>", "", "data index is there 0 times"),
        (r"(<h4>Data Index.*?</h4>)", r"\1\1", "data index is there 2 times"),
    ):
        changed = re.sub(pattern, new, section, count=1)
        assert changed != section
        problems = named(data.replace(section, changed).encode(), page)
        assert len(problems) == 1, problems
        assert re.search(rf"^text 1: .*({why})", problems[0]), problems


def test_a_window_alone_of_a_far_token_costs_no_memory(rng):
    page = random_page(rng, texts=1, length=90)
    at = int(np.argmax(page["texts"][0]["values"]))
    data = said(page, full=False).replace(f"Index: <b>{at}<".encode(), b"Index: <b>999999999<")
    assert "beyond any row" in str(read_page(data).problems[0])


def test_strange_notes_in_the_header(rng):
    """Our own note where it is no JSON: its texts would have checksums."""
    page = random_page(rng, texts=2)
    for note in ("{" + '"a":' * 3000 + "}", '{"a": ' + "[" * 100_000 + "}", "{1}", '{"a": ' + "9" * 5000 + "}"):
        data = said(page).replace(b"<h1>Model", f"<!-- neurolocal {note} -->\n<h1>Model".encode())
        read = read_page(data)
        assert read.texts == []
        assert all("checksum is missing" in str(p) for p in read.problems)


@given(st.data())
@settings(max_examples=60, deadline=None)
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


def test_files_that_are_no_pages(tmp_path, rng):
    page = random_page(rng, texts=2)
    for name, content, why in (
        ("6/159.html", said(page), None),
        ("6/158.html", said(page), "its path neuron 158 of layer 6"),
        ("6/7.html", b"", "ends before its first text"),
        ("any.html", b"", "no heading"),
        ("6/8.html", rng.bytes(5000), "no UTF-8"),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        sheet = read_packed(path, name, StringNumbers())
        assert [why in str(p) for p in sheet.problems] == ([] if why is None else [True])
    (tmp_path / "6" / "3.html").mkdir()
    assert "cannot be read" in str(read_packed(tmp_path / "6" / "3.html", "3.html", StringNumbers()).problems[0])
    assert "cannot be read" in str(read_packed(tmp_path / "6" / "4.html", "4.html", StringNumbers()).problems[0])


def test_the_twin_writes_what_the_description_says(rng):
    """The pages that all this is tested on have the site's form, by their own reading here."""
    page = random_page(rng, texts=2, length=70)
    data = said(page).decode()
    assert data.count("<hr>\n") == 3
    text = page["texts"][1]
    assert blob("f1", text["tokens"], text["values"], max(page["texts"][0]["values"])) in data
