"""Rows that occur on several pages: merged where they agree, left out and named where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from import_twins import corpus, faultless, load, write
from page_twins import HOSTILE, random_page

from neurolocal.store import Store


def test_rows_that_do_not_agree_are_left_out_by_name(tmp_path, rng):
    pages = corpus(rng, 6, words=["a", "b"], layers=(2,), neurons=2, texts=5)
    shared = {t["index"] for t in pages[0]["texts"]} & {t["index"] for t in pages[1]["texts"]}
    _, second = sorted(pages, key=lambda p: p["neuron"])
    wrong = next(i for i, t in enumerate(second["texts"]) if t["index"] in shared)
    second["texts"][wrong]["tokens"] = [*second["texts"][wrong]["tokens"][:-1], "other"]
    found = load([write(tmp_path / "p", pages)], tmp_path / "a.h5")
    index = second["texts"][wrong]["index"]
    assert found.problems == [
        f"2/{second['neuron']}.html: text {wrong}: an earlier page has another text at data index {index}; "
        "this one is left out"
    ]
    del second["texts"][wrong]
    with Store(tmp_path / "a.h5") as store:
        assert b"other" not in store.vocabulary.tokens
        assert len(store.examples(2, second["neuron"])) == 4
    faultless(tmp_path / "a.h5")


def test_a_data_index_twice_on_a_page_and_of_two_data_sets(tmp_path, rng):
    pages = [random_page(rng, neuron=i, texts=3, words=["a"]) for i in range(2)]
    pages[0]["texts"][2]["index"] = pages[0]["texts"][1]["index"]
    pages[1]["dataset"] = "code"
    found = load([write(tmp_path / "p", pages)], tmp_path / "a.h5")
    assert len(found.problems) == 3
    assert "0.html: text 2: data index 1 is there twice" in found.problems[0]
    assert "(of pile)" in found.problems[1]
    faultless(tmp_path / "a.h5")


@pytest.mark.parametrize("windows_first", [True, False])
def test_windows_and_whole_texts_of_one_row_are_joined(tmp_path, rng, windows_first):
    pages = corpus(rng, 8, words=HOSTILE, layers=(2,), neurons=2, texts=8, length=200)
    pages.sort(key=lambda p: p["neuron"])
    load([write(tmp_path / "p", pages, full=lambda i: i == windows_first)], tmp_path / "a.h5")
    with Store(tmp_path / "a.h5") as store:
        for page in pages:
            for text in page["texts"]:
                row = [store.vocabulary.tokens[i].decode() for i in store.row(text["index"])]
                assert row == text["tokens"]
        assert b"" not in store.vocabulary.tokens or "" in {s for p in pages for t in p["texts"] for s in t["tokens"]}
        whole = store.page_activations(2, 0 if windows_first else 1)
        assert np.isnan(whole).any()
        assert not np.isnan(store.page_activations(2, 1 if windows_first else 0)).any()
    faultless(tmp_path / "a.h5")


def test_windows_alone_leave_unknown_tokens(tmp_path, rng):
    pages = [random_page(rng, neuron=i, texts=5, length=200, first=5 * i) for i in range(3)]
    load([write(tmp_path / "p", pages, full=lambda i: False)], tmp_path / "a.h5")
    with Store(tmp_path / "a.h5") as store:
        assert store.vocabulary.tokens[-1] == b""
        assert store.vocabulary.special[-1]
        for page in pages:
            for text in page["texts"]:
                at = int(np.argmax(text["values"]))
                row = [store.vocabulary.tokens[i].decode() for i in store.row(text["index"])]
                low, high = max(at - 50, 0), min(at + 11, 200)
                assert row == [""] * low + text["tokens"][low:high]
    faultless(tmp_path / "a.h5")
