"""Each way in which a subject may differ from the pages is found and named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from replay_twins import activations, neox_folder, replayed, rows_of, seed, solu_folder, write_pages

from neurolocal.errors import StoreError, SubjectError
from neurolocal.neuroscope.imports.from_pages import import_pages
from neurolocal.neuroscope.replay.job import ReplayJob, run
from neurolocal.neuroscope.replay.replay_output import conclusion
from neurolocal.neuroscope.replay.rerun import FOLDED
from neurolocal.store import Store
from neurolocal.subject import load_subject

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("model", "made_at", "taken_for", "named"),
    [("solu-2l", "post", None, "post"), ("gelu-2l", "mid", None, "mid"), ("solu-2l", "pre", None, "pre")],
)
def test_a_wrong_hook_is_named(model, made_at, taken_for, named, stories, tmp_path, rng) -> None:
    path = solu_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = {1: activations(subject, rows, 1, made_at)}
    write_pages(tmp_path / "pages", subject, rows, values, model=model)
    found = replayed(tmp_path, path, site=taken_for)
    assert found.asked.agree < 0.9
    assert (found.fits.way.site, found.level) == (named, "float32")
    assert f"read at {named}, not {found.asked.way.site}" in conclusion(found)
    assert found.agrees, "weights and tokenizer are right; the site is one that the subject has"


def test_a_folded_layer_norm_is_named(stories, tmp_path, rng) -> None:
    path = solu_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    mid = torch.from_numpy(activations(subject, rows, 1, "mid"))
    folded = (mid - mid.mean(-1, keepdim=True)) / (mid.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    write_pages(tmp_path / "pages", subject, rows, {1: folded.numpy()}, model="gelu-2l")
    found = replayed(tmp_path, path)
    assert found.fits.way.site == FOLDED
    assert FOLDED in conclusion(found)
    assert not found.agrees, "the subject has no such site"


def test_a_bos_that_the_pages_do_not_show_is_named(stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = {layer: activations(subject, rows, layer, "post")[:, 1:] for layer in (0, 1)}
    write_pages(tmp_path / "pages", subject, rows, values, model="pythia-2l", first=1)
    found = replayed(tmp_path, path)
    assert (found.fits.way.bos, found.level) == ("put before", "float32")
    assert "a BOS that the pages do not show" in conclusion(found)


def test_a_bos_that_was_not_run_is_named(stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = activations(subject, rows[:, 1:], 1, "post")
    values = np.concatenate([np.zeros_like(values[:, :1]), values], axis=1)
    write_pages(tmp_path / "pages", subject, rows, {1: values}, model="pythia-2l")
    found = replayed(tmp_path, path)
    assert (found.fits.way.bos, found.level) == ("left out", "float32")
    assert "the BOS that the pages show was not run" in conclusion(found)


def test_another_checkpoint_is_named_if_it_is_given(stories, tmp_path, rng) -> None:
    first = seed(rng)
    path = neox_folder(tmp_path / "m", stories, seed=first)
    other = neox_folder(tmp_path / "other", stories, seed=first + 1)
    subject = load_subject(other, device="cpu")
    rows = rows_of(subject)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "post")}, model="pythia-2l")
    alone = replayed(tmp_path, path)
    assert (alone.level, alone.agrees) == ("nothing", False)
    assert "other weights, or another tokenizer" in conclusion(alone)
    found = replayed(tmp_path, path, others=[str(other)])
    assert (found.fits.way.subject, found.level, found.agrees) == ("other", "float32", False)
    assert "the subject is other, not m" in conclusion(found)
    assert replayed(tmp_path, other).agrees


def test_a_model_of_another_shape_or_without_the_site_is_refused(stories, tmp_path, rng) -> None:
    path = solu_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "mid")}, model="solu-2l")
    with pytest.raises(SubjectError, match="read at mid, the subject has post, pre"):
        replayed(tmp_path, neox_folder(tmp_path / "neox", stories, seed=1))
    write_pages(tmp_path / "pages", subject, rows, {7: activations(subject, rows, 1, "mid")}, model="solu-2l")
    with pytest.raises(StoreError, match="neuron 5 of layer 7"):
        replayed(tmp_path, path)


def test_texts_outside_of_the_tried_rows_count_too(stories, tmp_path, rng, monkeypatch) -> None:
    """The alternatives are tried on a few rows in which the subject is right: it must still not agree."""
    monkeypatch.setattr("neurolocal.neuroscope.replay.search.TRIAL_ROWS", 3)
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = activations(subject, rows, 1, "post").copy()
    values[3:] = values[3:, ::-1]
    write_pages(tmp_path / "pages", subject, rows, {1: values}, model="x")
    store = tmp_path / "pages.h5"
    import_pages([tmp_path / "pages"], store, say=lambda line: None, bar=False)
    with Store(store) as opened:
        found = run(ReplayJob(opened, subject=str(path)), texts=None, say=lambda line: None, bar=False)
    assert found.asked.agree < 0.5
    assert (found.level, found.agrees) == ("nothing", False)
    assert "nothing that was tried fits" in conclusion(found)
