"""The form of a page: the checksum, and the pages that all readers are tested on."""

from __future__ import annotations

import re

from export_twins import page_of, texts_of
from page_twins import blob, random_page
from reading_twins import said

from neurolocal.neuroscope.form import section_checksum


def test_the_test_pages_have_the_described_form(rng):
    """The pages on which the readers are tested have the site's form."""
    page = random_page(rng, texts=2, length=70)
    data = said(page).decode()
    assert data.count("<hr>\n") == 3
    text = page["texts"][1]
    assert blob("f1", text["tokens"], text["values"], max(page["texts"][0]["values"])) in data


def test_checksums_fit_and_find_any_change(rng):
    page = page_of(texts_of(rng, 3))
    comment = re.compile(r"<!-- neurolocal sha256 ([0-9a-f]{64}) -->")

    def fitting(page: str) -> list[bool]:
        header, _, *sections = page.split("\n<hr>\n")
        return [section_checksum(header, comment.split(s)[0]) == comment.findall(s)[0] for s in sections]

    assert fitting(page) == [True] * 3
    bounds = [m.start() for m in re.finditer("<h2>Text #", page)]
    at = int(rng.integers(bounds[1], bounds[1] + 400))
    changed = page[:at] + ("x" if page[at] != "x" else "y") + page[at + 1 :]
    assert fitting(changed) == [True, False, True]
    assert fitting(page.replace("in Layer 2 ", "in Layer 3 ")) == [False] * 3
