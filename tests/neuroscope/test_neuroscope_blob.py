"""The JSON objects of a page: exact values, and a named problem for each kind of damage."""

from __future__ import annotations

import json
import re

import pytest
from page_twins import random_page
from reading_twins import edited, exactly, named, replaced_value, said


def test_a_row_full_of_closing_tags(rng):
    for word in ("</script>", ")</script>", "</script></details>", "</details>", "<hr>", '"values":', '"tokens": '):
        page = random_page(rng, texts=2, length=1024, words=[word])
        exactly(said(page), page)


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
