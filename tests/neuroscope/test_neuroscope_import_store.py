"""An imported store: the stages run on it, what it lacks is stated, and damage is found."""

from __future__ import annotations

import contextlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from page_twins import page_html, random_page
from small_run import write_vectors

from neurolocal.cli.main import cli
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


def run(*arguments: object, cwd: Path) -> str:
    with contextlib.chdir(cwd):
        ended = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert ended.exit_code == 0, f"{arguments}: {ended.exception!r} {ended.output[-800:]}"
    return ended.stdout


def test_it_has_the_largest_alone_and_says_so(imported) -> None:
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
        run(stage, imported, "--vectors", words, cwd=tmp_path)
    run("similarity", imported, "--method", "notebook", "--vectors", "corpus", cwd=tmp_path)
    run("verdict", imported, cwd=tmp_path)
    assert "layer 6 · 3 neurons" in run("report", imported, cwd=tmp_path)
    shown = run("show", imported, 6, 1, cwd=tmp_path)
    assert "350 positions, all that its page shows" in shown
    assert "NaN" not in shown
    assert "neuron" in run("find", imported, " cat", cwd=tmp_path)
    run("report", imported, "--html", "page.html", cwd=tmp_path)
    assert check(imported, progress=False).faults == ()


def test_an_ordinary_store_without_its_smallest_lists_is_damaged(imported, tmp_path) -> None:
    """Only an import may lack them: the same file, were it a collection, has a fault."""
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
def test_what_contradicts_the_lists_is_found(imported, name, said) -> None:
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


def broken(section: str, at: int) -> str:
    """The section with U+FFFD as token `at` of its row, in window and full text."""
    import json
    import re

    position = int(re.findall(r"Token Index: <b>(\d+)</b>", section)[0])
    begins = iter([max(position - 50, 0), 0])

    def change(found: re.Match[str]) -> str:
        said, place = json.loads(found[1]), at - next(begins)
        if 0 <= place < len(said["tokens"]):
            said["tokens"][place] = "\ufffd"
        return f"ColoredTokens, {json.dumps(said, ensure_ascii=False)} )"

    return re.sub(r"ColoredTokens, (\{.*\}) \)", change, section)


def test_values_over_whole_rows_come_back(imported, rng) -> None:
    with Store(imported) as store:
        lists, top = store.pages(6), store.top(6, "largest")
        assert lists is not None
        for at in range(3):
            whole = store.page_activations(6, at)
            assert np.array_equal(whole[np.arange(5), top.position[at]], top.activation[at])
            assert sorted(lists.text[at].tolist()) == [0, 1, 2, 3, 4]
        assert np.allclose(store.maxima(6).activation, top.activation[:, 0])
