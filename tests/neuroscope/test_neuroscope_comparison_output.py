"""A comparison on a terminal."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from compare_twins import GOLDEN, lists, words, write_store

from neurolocal.neuroscope.compare.compare import compare
from neurolocal.neuroscope.compare.comparison_output import print_comparison


def test_terminal_is_golden(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    monkeypatch.chdir(tmp_path)
    v, tokens = words(rng, 60), rng.integers(1, 61, (40, 30))
    a = {i: lists(rng, neurons=12, k=4, rows=40, length=30) for i in (0, 1)}
    b = {i: lists(rng, neurons=12, k=4, rows=40, length=30) for i in (0, 1)}
    b[0] = a[0]
    write_store(Path("own.h5"), rng, vocabulary=v, tokens=tokens, layers=a)
    write_store(Path("theirs.h5"), rng, vocabulary=v, tokens=tokens, layers=b, rows=90, subject={"sha256": "c" * 64})
    said, out = [], io.StringIO()
    c = compare(Path("own.h5"), Path("theirs.h5"), say=said.append, bar=False)
    for width in (80, 130):
        print_comparison(c, out=out, limit=4, width=width)
    path = GOLDEN / "compare.txt"

    if os.environ.get("NEUROLOCAL_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([*said, out.getvalue()]), encoding="utf-8")
    assert "\n".join([*said, out.getvalue()]) == path.read_text(encoding="utf-8")
