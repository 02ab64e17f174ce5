"""The sentences about a comparison: what they mention and what they do not."""

from __future__ import annotations

from compare_twins import listed, quiet, random_store


def test_differences_are_stated(rng, tmp_path):
    a = random_store(tmp_path / "a.h5", rng, layers=1, width=5, subject={"sha256": "1" * 64})
    b = random_store(
        tmp_path / "b.h5", rng, layers=1, width=5, subject={"sha256": "2" * 64}, site="mid", complete=False, rows=70
    )
    c = quiet(a, b)
    said = "\n".join(c.notes)
    assert "the weights differ (SHA-256 11111111… and 22222222…)" in said
    assert "the sites differ: post and mid" in said
    assert "their store is a checkpoint" in said
    assert "is expected of 40 rows against 70" in said
    unknown = random_store(tmp_path / "d.h5", rng, layers=1, width=5, subject={"sha256": None})
    notes = quiet(a, unknown).notes
    assert "the same weights" not in notes
    assert not any(note.startswith("the weights differ") for note in notes)


def test_the_same_few_values_are_no_permutation(rng, tmp_path):
    values = rng.choice([0.0, 0.1, 0.2], 400)
    c = quiet(listed(tmp_path / "a.json", [values]), listed(tmp_path / "b.json", [rng.permutation(values)]))
    assert not any("permuted" in note for note in c.notes)
    apart = quiet(listed(tmp_path / "a.json", [rng.random(400)]), listed(tmp_path / "b.json", [rng.random(400)]))
    assert not any("permuted" in note for note in apart.notes)
    assert apart.overall.same_values < 0.3


def test_a_layer_that_does_not_follow_is_named(rng, tmp_path):
    values = rng.random((4, 2000))
    other = values.copy()
    other[2] = rng.random(2000)
    c = quiet(listed(tmp_path / "a.json", values), listed(tmp_path / "b.json", other))
    assert "not in layer 2, where they do not follow each other" in c.notes
    apart = quiet(listed(tmp_path / "a.json", rng.random((9, 2000))), listed(tmp_path / "b.json", values[[0] * 9]))
    assert not any("not in layer" in note for note in apart.notes)
