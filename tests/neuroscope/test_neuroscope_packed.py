"""Files -> packed pages; files that are no pages have a problem and nothing else."""

from __future__ import annotations

from page_twins import random_page
from reading_twins import said

from neurolocal.neuroscope.read.packed import StringNumbers, read_packed


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
