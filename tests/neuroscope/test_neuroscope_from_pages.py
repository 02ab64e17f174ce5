"""Saved pages -> a store: its content is compared with the pages by a slow loop."""

from __future__ import annotations

import json

import pytest
from import_twins import corpus, everything, faultless, load, same_as_pages, write
from page_twins import HOSTILE

from neurolocal.errors import StoreError
from neurolocal.store import Store


def test_a_store_holds_what_the_pages_state(tmp_path, rng):
    pages = corpus(rng, 15, words=HOSTILE)
    pages[0]["texts"] = pages[0]["texts"][:2]
    found = load([write(tmp_path / "pages", pages)], tmp_path / "a.h5")
    assert found.problems == []
    assert (found.pages, found.texts) == (len(pages), sum(len(p["texts"]) for p in pages))
    same_as_pages(tmp_path / "a.h5", pages)
    faultless(tmp_path / "a.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "pages"]


def test_the_same_page_in_two_files(tmp_path, rng):
    pages = corpus(rng, 15, words=HOSTILE)
    load([write(tmp_path / "a", pages)], tmp_path / "one.h5")
    write(tmp_path / "b", pages[:2])
    found = load([tmp_path / "a", tmp_path / "b"], tmp_path / "two.h5")
    assert (found.doubled, found.problems, found.pages) == (2, [], len(pages))
    assert everything(tmp_path / "two.h5") == everything(tmp_path / "one.h5")
    other = json.loads(json.dumps(pages[0]))
    other["texts"][1]["values"][0] += 0.25
    write(tmp_path / "c", [other])
    found = load([tmp_path / "a", tmp_path / "c"], tmp_path / "three.h5")
    assert found.doubled == 0
    (problem,) = found.problems
    assert "an earlier file has other texts of this neuron" in problem
    assert f"{pages[0]['neuron']}.html" in problem
    with Store(tmp_path / "three.h5") as store:
        assert store.problems == [problem]


def test_pages_of_two_models(tmp_path, rng):
    mine = corpus(rng, 15, words=HOSTILE)
    other = corpus(rng, 15, words=["only", "there"], model="gelu-4l")
    write(tmp_path / "p" / "a", mine)
    write(tmp_path / "p" / "b", other)
    with pytest.raises(StoreError, match=r"'gelu-4l'.*'solu-8l-pile'.*--model NAME"):
        load([tmp_path / "p"], tmp_path / "a.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p"]
    for name, pages, site in (("solu-8l-pile", mine, "mid"), ("gelu-4l", other, "post")):
        load([tmp_path / "p"], tmp_path / "a.h5", model=name)
        same_as_pages(tmp_path / "a.h5", pages)
        faultless(tmp_path / "a.h5")
        with Store(tmp_path / "a.h5") as store:
            assert store.sites == (site,)
    with pytest.raises(StoreError, match="no text could be read"):
        load([tmp_path / "p"], tmp_path / "a.h5", model="gpt2")


def test_a_page_that_does_not_name_its_model(tmp_path, rng):
    pages = corpus(rng, 15, words=HOSTILE)
    folder = write(tmp_path / "p", pages)
    last = max(folder.rglob("*.html"), key=lambda p: (p.parent.name, int(p.stem)))
    last.write_text(last.read_text(encoding="utf-8").replace("<h1>Model: solu-8l-pile</h1>", ""), encoding="utf-8")
    (folder / "4" / "60.html").write_bytes(b"")
    for model in (None, "solu-8l-pile"):
        found = load([folder], tmp_path / "a.h5", model=model)
        assert [p.split(": ")[1][:22] for p in found.problems] == ["it does not name its m", "it ends before its fir"]
        assert found.pages == len(pages) - 1
        faultless(tmp_path / "a.h5")
