"""Activations compared position by position: NaN, shifts, and a layer that is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from little_memory import rows_at_most
from replay_twins import activations, neox_folder, replayed, rows_of, seed, write_pages

from neurolocal.neuroscope.imports.from_pages import import_pages
from neurolocal.neuroscope.replay.job import ReplayJob
from neurolocal.neuroscope.replay.replay_output import conclusion, replay_json
from neurolocal.neuroscope.replay.search import replay
from neurolocal.store import Store
from neurolocal.subject import load_subject

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("shift", [1, -1])
def test_shifted_values_are_named(shift, stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = np.roll(activations(subject, rows, 1, "post"), shift, axis=1)
    values[:, 0 if shift > 0 else -1] = 0
    write_pages(tmp_path / "pages", subject, rows, {1: values}, model="pythia-2l")
    found = replayed(tmp_path, path)
    assert found.fits.way.shift == shift
    assert f"1 position {'behind' if shift > 0 else 'before'} their tokens" in conclusion(found)


def test_a_replay_goes_on_where_memory_runs_out(stories, tmp_path, rng, monkeypatch) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "post")}, model="pythia-2l")
    sizes = rows_at_most(monkeypatch, 2)
    assert replayed(tmp_path, path).agrees
    assert max(sizes) > 2


def test_a_layer_that_is_wrong_is_not_outvoted(stories, tmp_path, rng) -> None:
    """Layer 0 has thirty times larger activations and is right; the neurons of layer 1 are permuted."""
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = {layer: activations(subject, rows, layer, "post") for layer in (0, 1)}
    right = {0: values[0], 1: values[1][:, :, ::-1]}
    write_pages(tmp_path / "pages", subject, rows, right, model="x", neurons=12)
    found = replayed(tmp_path, path)
    assert found.asked.agree < 0.6
    assert not found.agrees
    assert found.asked.correlation < 0.9, "that of the worst layer"


def test_a_subject_that_gives_nan_does_not_agree(stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "post")}, model="x")
    store = tmp_path / "pages.h5"
    import_pages([tmp_path / "pages"], store, say=lambda line: None, bar=False)
    with Store(store) as opened:
        job = ReplayJob(opened, subject=str(path))

        def load(name, dtype):
            broken = job.load(name, dtype)
            broken.model.gpt_neox.embed_in.weight[5:] = torch.nan
            return broken

        found = replay(opened, load, dtype="float32", texts=None, say=lambda line: None, bar=False)
    assert found.largest == float("inf")
    assert (found.level, found.agrees) == ("nothing", False)
    json.loads(replay_json(found))
