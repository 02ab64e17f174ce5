"""Which files are read, and in which order; the number of processes changes nothing."""

from __future__ import annotations

import json
import os

import pytest
from import_twins import corpus, everything, faultless, load, same_as_pages, write
from page_twins import HOSTILE, page_html

from neurolocal.errors import StoreError
from neurolocal.store import Store


def test_other_folders_names_orders_and_numbers_of_processes_give_the_same(tmp_path, rng):
    pages = corpus(rng, 30, words=HOSTILE, neurons=20)
    whole = write(tmp_path / "one", pages)
    load([whole], tmp_path / "one.h5", processes=1)
    wanted = everything(tmp_path / "one.h5")
    load([whole], tmp_path / "two.h5", processes=2)
    assert everything(tmp_path / "two.h5") == wanted
    assert (tmp_path / "two.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()
    order = rng.permutation(len(pages)).tolist()
    files = []
    for i, j in enumerate(order):
        files.append(tmp_path / "any" / f"{i}-page.htm")
        files[-1].parent.mkdir(exist_ok=True)
        files[-1].write_text(page_html(pages[j]).replace("\n", "\r\n"), encoding="utf-8", newline="")
    load(files, tmp_path / "three.h5")
    assert everything(tmp_path / "three.h5") == wanted
    halves = [write(tmp_path / f"half{i}", pages[i::2]) for i in (1, 0)]
    load([*halves, whole / "1"], tmp_path / "four.h5")
    assert everything(tmp_path / "four.h5") == wanted
    same_as_pages(tmp_path / "four.h5", pages)


def test_nothing_to_import(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "index.html").write_text("<html>")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "3.html").write_text("<html>")
    (tmp_path / "folder" / "2" / "3.html").mkdir(parents=True)
    for path, why in (
        ("absent", "no such file"), ("empty", "no page in there"), ("damaged", "no text could"), ("folder", "no page")
    ):  # fmt: skip
        with pytest.raises(StoreError, match=why):
            load([tmp_path / path], tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_file_name_that_is_no_unicode(tmp_path, rng):
    folder = write(tmp_path / "p", corpus(rng, 15, words=HOSTILE))
    with open(os.fsencode(folder) + b"/bad\xff\n.html", "wb") as file:  # noqa: PTH123
        file.write(b"<html>")
    found = load([folder], tmp_path / "a.h5")
    assert len(found.problems) == 1
    with Store(tmp_path / "a.h5") as store:
        assert len(store.problems) == 1
        assert "no heading" in store.problems[0]
    json.loads(found.json())
    faultless(tmp_path / "a.h5")
