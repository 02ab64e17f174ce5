"""A store -> a website: pages that known readers accept and that show the store's values."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from export_twins import K, accepted, close, collected, export
from reader_twins import by_sections
from small_run import TEXT

from neurolocal.errors import ConfigError, StoreError
from neurolocal.neuroscope.export.neuron_page import PageText
from neurolocal.neuroscope.export.website import export_site
from neurolocal.store import Store


def test_three_readers_accept_every_page_and_find_the_stores_values(made):
    path, site = made
    with Store(path) as store:
        for layer in (0, 3):
            top = store.top(layer, "largest")
            for i, neuron in enumerate(store.neurons(layer).tolist()):
                page = (site / "stories" / str(layer) / f"{neuron}.html").read_text("utf-8")
                found = [f for _, f in by_sections(page, layer=layer, neuron=neuron)]
                assert len(found) == K
                for rank, one in enumerate(found):
                    assert (one.row, one.position) == (top.row[i, rank], top.position[i, rank])
                    tokens = store.row(one.row)
                    assert one.tokens == store.vocabulary.str_tokens(tokens)
                    assert one.values[one.position] == float(f"{top.activation[i, rank]:.6f}")
                    assert max(one.values[1:]) == one.values[one.position]  # BOS does not compete
                    places = np.arange(one.position - 9, one.position + 5)
                    inside = (places >= 0) & (places < len(tokens))
                    window = [float(f"{v:.6f}") for v in top.window[i, rank][inside].tolist()]
                    assert [one.values[p] for p in places[inside]] == window
                accepted(page, [PageText(f.row, f.position, f.tokens, np.float64(f.values)) for f in found],
                         layer=layer, neuron=neuron)  # fmt: skip


@pytest.mark.parametrize("side", ["smallest", "gate+_in+", "gate-_in+"])
def test_other_sides_and_padded_rows(fixtures, tmp_path, side):
    path = collected(
        tmp_path, fixtures, layers=(2,), neurons=(3, 4), sign_cases=True, packing="document", row_length=512
    )
    done = export(path, tmp_path / "site", side=side)
    assert done.pages == 2
    with Store(path) as store:
        for neuron in (3, 4):
            page = (tmp_path / "site" / "stories260k" / "2" / f"{neuron}.html").read_text("utf-8")
            examples = store.examples(2, neuron, side)
            found = [f for _, f in by_sections(page, layer=2, neuron=neuron)]
            assert [(f.row, f.position) for f in found] == [(e.row, e.position) for e in examples]
            for one, example in zip(found, examples, strict=True):
                assert len(one.tokens) == len(store.row(example.row)) < 512
                assert one.values[one.position] == float(f"{example.activation:.6f}")
            accepted(page, [PageText(f.row, f.position, f.tokens, np.float64(f.values)) for f in found],
                     layer=2, neuron=neuron)  # fmt: skip


def test_a_store_in_bfloat16(fixtures, tmp_path):
    path = collected(tmp_path, fixtures, layers=(1, 4), dtype="bfloat16")
    assert export(path, tmp_path / "site", layers=[4]).pages == 172
    with Store(path) as store:
        for neuron in (0, 171):
            page = (tmp_path / "site" / "stories260k" / "4" / f"{neuron}.html").read_text("utf-8")
            found = [f for _, f in by_sections(page, layer=4, neuron=neuron)]
            examples = store.examples(4, neuron)
            for one, example in zip(found, examples, strict=True):
                window = one.values[example.start : example.start + len(example.tokens)]
                assert window == [float(f"{v:.6f}") for v in example.activations.tolist()]
                assert max(one.values[1:]) == one.values[one.position]


def test_impossible_requests_are_refused(made, tmp_path, monkeypatch):
    path, _ = made
    with pytest.raises(ConfigError, match="texts is 0"):
        export(path, tmp_path / "a", texts=0)
    with pytest.raises(StoreError, match="looking for layer 1 "):
        export(path, tmp_path / "a", layers=[1])
    with pytest.raises(StoreError, match="sign-cases"):
        export(path, tmp_path / "a", side="gate+_in+")
    with pytest.raises(StoreError, match="site pre "):
        export(path, tmp_path / "a", site="pre")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"exporting to .*/file.*: .*choose a folder"):
        export(path, tmp_path / "file")


def test_a_full_disk_is_reported_and_leaves_no_partial_files(made, tmp_path, monkeypatch):
    path, _ = made
    real, seen = Path.write_bytes, []

    def full(self, data):
        if "90.html" in self.name:
            seen.append(self)
            real(self, data[:100])
            raise OSError(28, "No space left on device", str(self))
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match=r"the disk is full\. .* Free space"):
        export(path, tmp_path, model="m")
    assert seen
    assert not list(tmp_path.rglob("*.partial"))
    assert not (tmp_path / "index.html").exists()
    monkeypatch.undo()
    assert export(path, tmp_path, model="m").pages == 10


def test_the_text_is_that_of_the_corpus(made):
    _, site = made
    page = (site / "stories" / "0" / "5.html").read_text("utf-8")
    _, one = by_sections(page, layer=0, neuron=5)[0]
    assert one.tokens[0] == "<s>"
    body = "".join(one.tokens[2:-1]).strip()
    assert body[:20] in TEXT.replace("\n", "\n") or body[-20:] in TEXT


def test_a_checkpoint_is_not_exported(made, tmp_path):
    """The command is the same as for a whole store; the collection must be finished first."""
    path, _ = made
    other = tmp_path / "s.h5"
    shutil.copy(path, other)
    with h5py.File(other, "r+") as file:
        manifest = json.loads(file.attrs["manifest"])
        manifest["complete"] = False
        if "manifest_sha256" in file.attrs:
            del file.attrs["manifest_sha256"]
        file.attrs["manifest"] = json.dumps(manifest)
    with pytest.raises(StoreError, match=r"collection stopped at row .* Run the same `neurolocal collect` again"):
        export(other, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_subject_is_not_loaded_before_the_store_is_known_to_have_examples(made, tmp_path):
    path, _ = made

    def never():
        pytest.fail("the subject was loaded")

    with Store(path) as store, pytest.raises(StoreError, match="holds largest, smallest"):
        export_site(store, tmp_path / "site", subject=never, side="gate+_in+", bar=False)


def test_some_neurons_have_the_pages_of_a_whole_export(made, tmp_path):
    path, site = made
    done = export(path, tmp_path / "site", neurons=(171, 5), layers=(3,), model="a/stories", dataset="small <b>")
    assert (done.pages, done.left_out) == (2, [])
    pages = sorted((tmp_path / "site" / "stories" / "3").glob("[0-9]*.html"))
    assert [page.name for page in pages] == ["171.html", "5.html"]
    for page in pages:
        mine, whole = (f.read_text("utf-8") for f in (page, site / "stories" / "3" / page.name))
        assert close(mine.partition("</nav>")[2], whole.partition("</nav>")[2])
    with pytest.raises(StoreError, match=r"exporting neuron 6 of layer 3: .* holds 5 neurons of it, 0 to 171"):
        export(path, tmp_path / "other", neurons=(5, 6), layers=(3,))
    assert not (tmp_path / "other").exists()
