"""Nothing that a store holds reaches the page or the terminal with characters that hide or reorder text."""

from __future__ import annotations

import io
import unicodedata

import h5py
import numpy as np
import pytest

from neurolocal.render.visible import HIDDEN
from neurolocal.report import print_table, report_rows, show
from neurolocal.report.page import page
from neurolocal.store import Store

EVIL = "a\x1b[31m\u202eb\u2066\x07\x9b\u200b"
KNOWN = ("verdict/bytes", "kind/bytes", "measure/bytes")
"""Columns whose texts a reader checks."""


@pytest.fixture
def evil(small_store):
    """A store in which every string of the evidence is EVIL."""
    opened = small_store(hostile=True)
    opened.close()
    path = opened.path
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        data = np.frombuffer(EVIL.encode(), np.uint8)
        changed = [
            name.removesuffix("/bytes") for name in names
            if name.endswith("/bytes") and not name.endswith(KNOWN) and name.split("/")[0] not in
            ("rows", "tokenizer", "find", "corpus")
        ]  # fmt: skip
        for name in changed:
            rows = len(file[f"{name}/index"]) if "index" in file[name] else len(file[f"{name}/offsets"]) - 1
            for part in list(file[name]):
                del file[f"{name}/{part}"]
            file[f"{name}/bytes"], file[f"{name}/offsets"] = data, np.array([0, len(data)])
            file[f"{name}/index"] = np.zeros(rows, np.uint32)
    assert any("form" in name for name in changed)
    with Store(path) as store:
        yield store


def hidden(text: str) -> set[str]:
    return {c for c in text if c != "\n" and unicodedata.category(c) in HIDDEN}


def test_the_page(evil) -> None:
    assert hidden(page(evil)) == set()


def test_the_terminal(evil) -> None:
    out = io.StringIO()
    for layer in evil.layers:
        for neuron in evil.neurons(layer).tolist():
            show(evil, layer, neuron, out=out, width=100)
    print_table(report_rows(evil), out=out, limit=None, verdicts={})
    assert hidden(out.getvalue()) == set()
    assert "U+202E" in out.getvalue()
