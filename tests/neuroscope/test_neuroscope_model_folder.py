"""A model's folder: safe names, nothing foreign is overwritten, damaged files are ignored."""

from __future__ import annotations

import re

import pytest
from export_twins import export
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.errors import StoreError
from neurolocal.neuroscope.export import model_folder
from neurolocal.neuroscope.export.model_folder import folder_name


@pytest.mark.parametrize(
    ("name", "folder"),
    [("EleutherAI/pythia-70m", "pythia-70m"), ("../../etc/passwd", "passwd"), ("..", "model"), (".", "model"),
     ("", "model"), ("a/", "a"), ("C:\\x\\y", "C--x-y"), ("\0<b>é", "--b--"), (".git", "git"), ("///", "model"),
     ("index.html", "index.html-"), ("x" * 999, "x" * 100), ("a\n/b c", "b-c")],
)  # fmt: skip
def test_names_of_models_stay_in_the_folder(name, folder):
    assert folder_name(name) == folder


@given(st.text())
def test_any_name_is_one_safe_component(name):
    assert re.fullmatch("[A-Za-z0-9_-][A-Za-z0-9._-]*", folder_name(name))
    assert len(folder_name(name)) <= 101


def test_a_hostile_name_is_exported_inside(made, tmp_path):
    path, _ = made
    export(path, tmp_path / "site", model="../..", layers=[0], texts=2)
    export(path, tmp_path / "site", model="</title><script>", layers=[0], texts=2)
    assert {p.name for p in tmp_path.iterdir()} == {"site"}
    assert {p.name for p in (tmp_path / "site").iterdir()} == {"model", "title--script-", "index.html", "random.html"}
    index = (tmp_path / "site" / "index.html").read_text()
    assert index.count("<script") == 0
    assert "&lt;/title&gt;&lt;script&gt;" in index


def test_an_export_is_added_to_and_mixes_with_nothing_else(made, tmp_path):
    path, _ = made
    first = export(path, tmp_path, model="m", layers=[3], texts=3)
    assert (first.pages, first.short) == (5, 5)
    export(path, tmp_path, model="m", layers=[0])
    export(path, tmp_path, model="n", layers=[0], texts=1)
    index = (tmp_path / "index.html").read_text()
    assert re.findall('href="([mn])/index.html"', index) == ["m", "n"]
    assert len(re.findall(r'href="[03]/\d+\.html"', (tmp_path / "m" / "index.html").read_text())) == 10
    (tmp_path / "m" / "0" / "77.html").write_text("a page of an older export")
    export(path, tmp_path, model="m", layers=[0])
    assert not (tmp_path / "m" / "0" / "77.html").exists()
    with pytest.raises(StoreError, match="side 'largest', not smallest"):
        export(path, tmp_path, model="m", layers=[0], side="smallest")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="from no export"):
        export(path, tmp_path, model="foreign")
    (tmp_path / "index.html").write_text("my own home")
    with pytest.raises(StoreError, match=r"index\.html there is not from an export"):
        export(path, tmp_path, model="p")
    assert (tmp_path / "index.html").read_text() == "my own home"


def test_a_damaged_list_of_pages_is_no_list(tmp_path):
    for text in ("", "[]", "{}", '{"model": 1}', '{"model": "m", "dataset": "d", "of": {}, "layers": {"0": [[3, 1]]}}',
                 '{"model": "m", "dataset": "d", "of": {}, "layers": {"x": []}}', "[" * 10**5):  # fmt: skip
        (tmp_path / model_folder.MARKER).write_text(text)
        assert model_folder.read_model(tmp_path) is None
    (tmp_path / model_folder.MARKER).write_text('{"model": "m", "dataset": "d", "of": {}, "layers": {"0": [[1, 3]]}}')
    found = model_folder.read_model(tmp_path)
    assert found is not None
    assert found.pages == 3
