"""An imported store: the stages run on it, what it lacks is stated, and damage is found."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from page_twins import page_html, random_page
from replay_twins import run_command
from small_run import write_vectors

from neurolocal.errors import StoreError
from neurolocal.neuroscope.imports.from_pages import import_pages
from neurolocal.pipeline.workspace import Workspace
from neurolocal.store import Store, check


@pytest.fixture
def imported(tmp_path, rng) -> Path:
    """Three neurons of five texts."""
    for neuron in range(3):
        page = random_page(rng, neuron=neuron, texts=5, length=70, first=10 * neuron, words=[" cat", " dog", " tree"])
        path = tmp_path / "pages" / "6" / f"{neuron}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page_html(page), encoding="utf-8")
    import_pages([tmp_path / "pages"], tmp_path / "a.h5", say=lambda line: None, bar=False)
    return tmp_path / "a.h5"


def test_it_has_only_the_largest_lists_and_states_that(imported) -> None:
    with Store(imported) as store:
        assert store.imported
        assert store.sides(6) == ["largest"]
        with pytest.raises(StoreError, match=r"it holds largest\. Pages show the largest activations"):
            store.top(6, "smallest")
    assert Workspace(imported).require_sides(6) == ("largest",)
    with pytest.raises(StoreError, match="holds largest"):
        Workspace(imported, sides=("gate+_in+",)).require_sides(6)


def test_the_stages_run_on_it(imported, tmp_path) -> None:
    words = write_vectors(tmp_path / "vectors.txt")
    for stage in ("similarity", "summary"):
        run_command(stage, imported, "--vectors", words, cwd=tmp_path)
    run_command("similarity", imported, "--method", "notebook", "--vectors", "corpus", cwd=tmp_path)
    run_command("verdict", imported, cwd=tmp_path)
    assert "layer 6 · 3 neurons" in run_command("report", imported, cwd=tmp_path)
    shown = run_command("show", imported, 6, 1, cwd=tmp_path)
    assert "350 positions, all that its page shows" in shown
    assert "NaN" not in shown
    assert "neuron" in run_command("find", imported, " cat", cwd=tmp_path)
    run_command("report", imported, "--html", "page.html", cwd=tmp_path)
    assert check(imported, progress=False).faults == ()


def test_an_ordinary_store_without_its_smallest_lists_is_damaged(imported, tmp_path) -> None:
    """Only an import may lack them: the same file as a collection has a fault."""
    import json

    with h5py.File(imported, "r+") as file:
        manifest = json.loads(file.attrs["manifest"])
        del manifest["source"]
        del file.attrs["manifest_sha256"]
        file.attrs["manifest"] = json.dumps(manifest)
    faults = [str(fault) for fault in check(imported, progress=False).faults]
    assert any("smallest" in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("name", "said"),
    [("activation", "the windows of the lists"), ("maximum", "the first example"), ("text", "a number where there is")],
)
def test_contradictions_with_the_lists_are_found(imported, name, said) -> None:
    with h5py.File(imported, "r+") as file:
        place = file[f"neuroscope/mid/6/{name}"]
        values = place[()]
        if name == "activation":
            with Store(imported) as store:
                position = int(store.top(6, "largest").position[1, 2])
            values[1, 2, position] += 1
        elif name == "maximum":
            values[2] += 0.5
        else:
            values[0, 3] = -1
        place[...] = values
    faults = [str(fault) for fault in check(imported, progress=False).faults]
    assert any(said in fault for fault in faults), faults


def test_values_over_whole_rows_are_read_back(imported, rng) -> None:
    with Store(imported) as store:
        lists, top = store.pages(6), store.top(6, "largest")
        assert lists is not None
        for at in range(3):
            whole = store.page_activations(6, at)
            assert np.array_equal(whole[np.arange(5), top.position[at]], top.activation[at])
            assert sorted(lists.text[at].tolist()) == [0, 1, 2, 3, 4]
        assert np.allclose(store.maxima(6).activation, top.activation[:, 0])
