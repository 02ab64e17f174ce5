"""What tests of the reader share: a page as bytes, and the comparison of what was read with the page."""

from __future__ import annotations

import re

import numpy as np
from page_twins import page_html

from neurolocal.neuroscope.read.saved_page import read_page


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


def replaced_value(data: bytes, new: str) -> bytes:
    """The same page, a value of text 1 replaced in window and full text alike."""
    head, *sections = data.decode().split("<hr>\n")
    found = re.search(r'"values": \[(?:[^,]*, ){1}([^,]*), ', sections[2])
    assert found
    sections[2] = sections[2].replace(f", {found[1]}, ", f", {new}, ")
    return "<hr>\n".join([head, *sections]).encode()


def edited(page, change) -> bytes:
    """The page, one of its blobs changed as JSON text."""
    head, *sections = page_html(page).split("<hr>\n")
    before, full = sections[2].split("</summary>")
    sections[2] = before + "</summary>" + change(full)
    return "<hr>\n".join([head, *sections]).encode()
