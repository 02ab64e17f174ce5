"""What our own pages state about their making: used where sound, a named problem where damaged."""

from __future__ import annotations

import pytest
from import_twins import FACTS, faultless, load, own_page

from neurolocal.errors import StoreError
from neurolocal.store import Store


def test_our_own_pages_state_how_they_were_made(tmp_path, rng):
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "a.html").write_text(own_page(rng, facts=FACTS))
    (folder / "b.html").write_text(own_page(rng, neuron=8, facts=FACTS))
    found = load([folder], tmp_path / "a.h5")
    assert found.problems == []
    faultless(tmp_path / "a.h5")
    with Store(tmp_path / "a.h5") as store:
        assert store.sites == ("pre",)
        assert store.manifest["config"]["dtype"] == "bfloat16"
        assert store.manifest["subject"] | {"d_vocab": 0} == {
            "name": "m", "path": "", "sha256": "ab", "n_layers": 3, "d_mlp": [9, 9, 9], "d_vocab": 0
        }  # fmt: skip
    (folder / "b.html").write_text(own_page(rng, neuron=8, facts=FACTS | {"dtype": "float32"}))
    with pytest.raises(StoreError, match="pages of one export"):
        load([folder], tmp_path / "a.h5")
    (folder / "b.html").write_text(own_page(rng, neuron=8, facts=FACTS | {"side": "smallest"}))
    with pytest.raises(StoreError, match="smallest"):
        load([folder], tmp_path / "a.h5")


@pytest.mark.parametrize(
    "strange",
    [{"special": 5}, {"special": [1]}, {"site": []}, {"side": {}}, {"dtype": "int8"}, {"bos": 3}, {"count_bos": "yes"},
     {"n_layers": 10**30}, {"n_layers": -1}, {"d_mlp": "a"}, {"d_mlp": 9}, {"d_mlp": [1, "a", 2]}, {"subject": 7},
     {"subject": "\u20ac"}],
)  # fmt: skip
def test_hostile_notes_on_how_a_page_was_made(tmp_path, rng, strange):
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "a.html").write_text(own_page(rng, facts=FACTS))
    (folder / "b.html").write_text(own_page(rng, neuron=8, facts=FACTS | strange))
    found = load([folder], tmp_path / "a.h5")
    assert found.problems == [
        f"b.html: what it states about its making is damaged ({next(iter(strange))}); it is left out"
    ]
    faultless(tmp_path / "a.h5")
