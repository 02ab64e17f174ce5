"""The record of a layer against a slow loop, for tied values and rows of any length."""

from __future__ import annotations

from import_twins import faultless, load, same_as_pages, write
from page_twins import page_html, random_page

from neurolocal.store import Store


def test_rows_of_other_lengths_and_pages_with_no_bos(tmp_path, rng):
    pages = [random_page(rng, neuron=i, texts=4, length=n, first=10 * i) for i, n in enumerate((1, 3, 61, 200))]
    for page in pages[:2]:
        for text in page["texts"]:
            text["tokens"][0] = " A"
    load([write(tmp_path / "pages", pages)], tmp_path / "a.h5")
    same_as_pages(tmp_path / "a.h5", pages)
    faultless(tmp_path / "a.h5")
    with Store(tmp_path / "a.h5") as store:
        assert store.manifest["config"]["bos"] == "none"
        assert store.manifest["config"]["row_length"] == 200


def test_a_dead_neuron_whose_rounded_values_tie(tmp_path, rng):
    """The page's token index is of the unrounded values: it need not be the first of those that look alike."""
    page = random_page(rng, texts=3, length=90)
    for text in page["texts"]:
        text["values"] = [0.0] * 90
        text["values"][40] = 1e-9  # what the twin takes the position from
    at = page_html(page).replace("1e-09", "0.0")
    path = tmp_path / "6" / "159.html"
    path.parent.mkdir()
    path.write_text(at, encoding="utf-8")
    found = load([path], tmp_path / "a.h5")
    assert found.problems == []
    with Store(tmp_path / "a.h5") as store:
        assert store.top(6, "largest").position[0].tolist() == [40] * 3
        assert store.maxima(6).activation.tolist() == [0]
    faultless(tmp_path / "a.h5")
