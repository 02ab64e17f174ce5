"""Activations over full rows: the store's inside the windows, the subject's outside, and where they disagree."""

from __future__ import annotations

import shutil
from typing import Any

import h5py
import numpy as np
import pytest
from export_twins import ROW, K, close, export
from little_memory import rows_at_most
from reader_twins import by_sections

from neurolocal.errors import StoreError
from neurolocal.neuroscope.export import whole_rows
from neurolocal.neuroscope.export.whole_rows import LayerSlice, groups
from neurolocal.store import Store


def test_outside_of_the_window_the_values_are_the_subjects(made, fixtures, rng):
    import torch

    from neurolocal.subject import load_subject

    path, site = made
    subject = load_subject(str(fixtures / "stories260k"))
    with Store(path) as store:
        for layer in (0, 3):
            neuron = int(rng.choice(store.neurons(layer)))
            page = (site / "stories" / str(layer) / f"{neuron}.html").read_text("utf-8")
            _, one = by_sections(page, layer=layer, neuron=neuron)[int(rng.integers(0, K))]
            row = torch.from_numpy(store.row(one.row).astype(np.int64))[None]
            own = subject.activations(row, layer)[0, :, neuron].numpy()
            np.testing.assert_allclose(one.values, own, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("memory", [1, 3 * K * ROW * 4, 7 * K * ROW * 4])
def test_the_same_pages_whatever_the_groups(made, tmp_path, monkeypatch, memory):
    path, site = made
    monkeypatch.setattr(whole_rows, "MEMORY", memory)
    monkeypatch.setattr(whole_rows, "BATCH", 3)
    export(path, tmp_path, model="a/stories", dataset="small <b>")
    for page in sorted(site.glob("stories/*/*.html")):
        other = tmp_path / page.relative_to(site)
        assert close(page.read_text("utf-8"), other.read_text("utf-8")), page


def test_the_same_pages_where_memory_runs_out(made, tmp_path, monkeypatch):
    path, site = made
    sizes = rows_at_most(monkeypatch, 5)
    export(path, tmp_path, model="a/stories", dataset="small <b>")
    assert [size for size in sizes if size > 5] == [8]
    for page in sorted(site.glob("stories/*/*.html"))[::7]:
        assert close(page.read_text("utf-8"), (tmp_path / page.relative_to(site)).read_text("utf-8")), page


def test_groups_cover_every_neuron_once_in_order(rng):
    for _ in range(50):
        sizes = [(layer, int(n)) for layer, n in enumerate(rng.integers(0, 9, rng.integers(1, 6)))]
        room = int(rng.integers(1, 12))
        found = list(groups(sizes, room))
        every = [(part.layer, i) for group in found for part in group for i in range(part.low, part.high)]
        assert every == [(layer, i) for layer, n in sizes for i in range(n)]
        assert all(sum(p.high - p.low for p in group) == room for group in found[:-1])
        assert all(len({p.layer for p in group}) == len(group) for group in found)
    assert list(groups([(4, 5)], 3)) == [[LayerSlice(4, 0, 3)], [LayerSlice(4, 3, 5)]]


def test_values_that_are_not_finite_are_left_out_and_named(made, tmp_path):
    path, _ = made
    other = tmp_path / "s.h5"
    shutil.copy(path, other)
    with h5py.File(other, "r+") as file:
        for name in ("activation", "row", "position", "window"):  # a neuron without examples
            data = file[f"collect/post/0/largest/{name}"]
            data[3] = -1 if name in ("row", "position") else np.nan
    kept = whole_rows._computed

    def with_nan(store, subject, parts, at, *, progress):
        values = kept(store, subject, parts, at, progress=progress)
        values[0][1, 4, -1] = np.nan
        values[0][2, :, -1] = np.inf
        return values

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_rows, "_computed", with_nan)
        patch.setattr(whole_rows, "_put_windows", lambda *args: None)
        done = export(other, tmp_path / "site", model="m", layers=[0])
    assert (done.pages, done.short) == (3, 1)
    named = [line.split(":")[0] for line in done.left_out]
    assert named[0].startswith("layer 0 neuron 1 rank 4 (row ")
    assert [line.split(" rank")[0] for line in named[1:]] == ["layer 0 neuron 5"] * 21 + ["layer 0 neuron 90"]
    assert "no example" in done.left_out[-1]
    folder = tmp_path / "site" / "m" / "0"
    assert sorted(p.stem for p in folder.glob("[0-9]*.html")) == ["0", "1", "171"]
    page = (folder / "1.html").read_text("utf-8")
    assert len(by_sections(page, layer=0, neuron=1)) == 19
    assert 'rel="next" href="171.html"' in page


def test_a_store_that_the_subject_contradicts_is_refused(made, tmp_path):
    path, _ = made
    other = tmp_path / "s.h5"
    shutil.copy(path, other)
    with h5py.File(other, "r+") as file:
        data: Any = file["collect/post/3/largest/window"]
        data[2, 7, 9] += np.float32(0.1)
    with pytest.raises(StoreError, match=r"layer 3 neuron 5, row \d+, position \d+ .* Run `neurolocal check"):
        export(other, tmp_path / "site")


def test_a_stronger_position_than_the_example_is_refused(made, tmp_path, monkeypatch):
    path, _ = made
    kept = whole_rows._computed

    def stronger(*args, **more):
        values = kept(*args, **more)
        values[3][1, 0, np.argmax(values[3][1, 0, 1:]) + 1 - 20] += 99
        return values

    monkeypatch.setattr(whole_rows, "_computed", stronger)
    with pytest.raises(
        StoreError, match=r"layer 3 neuron 1, row \d+, position \d+ is at most .* Run `neurolocal check"
    ):
        export(path, tmp_path / "site")


def test_rounding_above_the_peak_is_clipped_except_at_bos(made, tmp_path):
    path, _ = made
    kept = whole_rows._computed
    with Store(path) as store:
        top, length = store.top(3, "largest"), store.rows_stored[1]
        assert (length == ROW).all()
    place = np.where(top.position[0] > 30, 3, ROW - 1)

    def above(store, subject, parts, at, *, progress):
        values = kept(store, subject, parts, at, progress=progress)
        values[3] -= np.float32(1e-5)
        peak = np.take_along_axis(values[3][0], top.position[0][:, None], 1)
        np.put_along_axis(values[3][0], place[:, None], peak + np.float32(1e-4), 1)
        values[3][0, top.position[0] > 9, 0] = 50
        return values

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_rows, "_computed", above)
        export(path, tmp_path, layers=[3], model="m")
    page = (tmp_path / "m" / "3" / "0.html").read_text("utf-8")
    for (figures, one), at, activation in zip(
        by_sections(page, layer=3, neuron=0), place, top.activation[0], strict=True
    ):
        assert one.values[at] == one.values[one.position] == float(f"{activation:.6f}")
        assert (one.values[0] == 50) == (one.position > 9)
        assert float(figures["range"][0]) == float(f"{top.activation[0, 0]:.4f}")
    with Store(path) as store:
        for (_, one), example in zip(by_sections(page, layer=3, neuron=0), store.examples(3, 0), strict=True):
            window = one.values[example.start : example.start + len(example.tokens)]
            assert window == [float(f"{v:.6f}") for v in example.activations.tolist()]
