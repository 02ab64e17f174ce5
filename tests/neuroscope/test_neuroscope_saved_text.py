"""One section -> its text; printed figures must agree with the values."""

from __future__ import annotations

import re

import numpy as np
import pytest
from page_twins import HOSTILE, random_page
from reading_twins import exactly, named, said

from neurolocal.neuroscope.read.saved_page import read_page


@pytest.mark.parametrize("crlf", [False, True])
def test_windows_alone(rng, crlf):
    page = random_page(rng, texts=6, length=150, words=HOSTILE)
    exactly(said(page, full=False, crlf=crlf), page, whole=False)


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
