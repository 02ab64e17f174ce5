"""The level of agreement, and how hypotheses are distinguished."""

from __future__ import annotations

import pytest
from replay_twins import activations, neox_folder, replayed, rows_of, seed, write_pages

from neurolocal.neuroscope.replay.replay_output import conclusion
from neurolocal.subject import load_subject

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("made_in", ["bfloat16", "autocast"])
def test_bfloat16_is_named(made_in, stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, dtype="float32" if made_in == "autocast" else made_in, device="cpu")
    rows = rows_of(subject)
    values = {layer: activations(subject, rows, layer, "post", autocast=made_in == "autocast") for layer in (0, 1)}
    write_pages(tmp_path / "pages", subject, rows, values, model="pythia-2l")
    found = replayed(tmp_path, path, dtype="float32")
    assert found.asked.agree < 0.9
    assert found.fits.way.dtype == made_in
    assert found.level == "bfloat16"
    assert found.agrees
    assert "bfloat16" in conclusion(found)


def test_a_checkpoint_with_the_same_name_is_distinguished(stories, tmp_path, rng) -> None:
    first = seed(rng)
    path = neox_folder(tmp_path / "a" / "m", stories, seed=first)
    other = neox_folder(tmp_path / "b" / "m", stories, seed=first + 1)
    subject = load_subject(other, device="cpu")
    rows = rows_of(subject)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "post")}, model="pythia-2l")
    found = replayed(tmp_path, path, others=[str(other)])
    assert (found.fits.way.weights, found.level, found.agrees) == (subject.sha256, "float32", False)
    assert "the subject is another m (" in conclusion(found)
