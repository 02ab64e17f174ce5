"""The result of a replay in words, as JSON and on a terminal."""

from __future__ import annotations

import pytest
from replay_twins import activations, replayed, rows_of, seed, solu_folder, write_pages

from neurolocal.neuroscope.replay.replay_output import conclusion
from neurolocal.subject import load_subject

pytestmark = pytest.mark.usefixtures("one_thread")


def test_pages_of_the_subject_itself_agree(stories, tmp_path, rng) -> None:
    path = solu_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = {layer: activations(subject, rows, layer, "mid") for layer in (0, 1)}
    write_pages(tmp_path / "pages", subject, rows, values, model="solu-2l")
    found = replayed(tmp_path, path)
    assert found.level == "float32"
    assert found.agrees
    assert found.fits.way.site == "mid"
    assert found.relative < 1e-5
    assert (found.texts, found.same_peak, found.left_out) == (96, 96, 0)
    assert found.activations == 96 * rows.shape[1]
    assert found.asked.correlation == pytest.approx(1, abs=1e-9)
    assert "within float32" in conclusion(found)
