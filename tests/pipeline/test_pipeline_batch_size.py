"""Out of memory in a collection: an error that says what would fit, and a store that stays as it was."""

from __future__ import annotations

import pytest
import torch
from small_collection import after, content, run

from neurolocal.errors import SubjectError
from neurolocal.subject import batches


def full(subject, monkeypatch, *, room: int, say: str = "CUDA out of memory. Tried to allocate 9.00 GiB.\nMore."):
    """Let the subject run out of memory above so many rows."""
    read = subject.read

    def small(tokens, *args, **more):
        if len(tokens) > room:
            raise torch.OutOfMemoryError(say)
        read(tokens, *args, **more)

    monkeypatch.setattr(subject, "read", small)


def test_the_size_that_fits_is_named_and_nothing_is_written(subject, corpus, tmp_path, monkeypatch) -> None:
    path = tmp_path / "s.h5"
    full(subject, monkeypatch, room=3)
    monkeypatch.setattr(batches, "fitting_rows", lambda *a, **k: 3)
    with pytest.raises(SubjectError) as caught:
        run(subject, corpus, path)
    text = str(caught.value)
    assert "out of memory with batches of 4 rows (CUDA out of memory. Tried to allocate 9.00 GiB.)" in text
    assert text.endswith("Give --batch-size 3, which fits by measure.")
    assert "\n" not in text
    assert not path.exists()


def test_where_nothing_can_be_measured_half_is_proposed(subject, corpus, tmp_path, monkeypatch) -> None:
    full(subject, monkeypatch, room=2)
    with pytest.raises(SubjectError, match=r"Give --batch-size 2\.$"):
        run(subject, corpus, tmp_path / "s.h5")


@pytest.mark.parametrize("size", [1, 4])
def test_not_even_one_row(subject, corpus, tmp_path, monkeypatch, size) -> None:
    full(subject, monkeypatch, room=0)
    monkeypatch.setattr(batches, "fitting_rows", lambda *a, **k: 0)
    with pytest.raises(SubjectError, match="Not even one row fits: give a smaller --row-length"):
        run(subject, corpus, tmp_path / "s.h5", batch_size=size)


def test_the_last_checkpoint_is_kept_and_can_be_resumed(subject, corpus, whole, tmp_path, monkeypatch) -> None:
    path = tmp_path / "s.h5"
    run(subject, corpus, path, stop=after(3))
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        full(subject, patch, room=3)
        with pytest.raises(SubjectError, match=r"another --store, .* The last checkpoint in .* is kept; the same comm"):
            run(subject, corpus, path)
    assert path.read_bytes() == before
    run(subject, corpus, path)
    assert content(path) == whole[1]


def test_other_errors_stay_as_they_are(subject, corpus, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(subject, "read", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("a shape is wrong")))
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        run(subject, corpus, tmp_path / "s.h5")


def test_the_way_to_the_first_batch_and_from_the_last_is_said(subject, corpus, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("neurolocal.machine._began", None)  # an earlier test of this process may have run a command
    said: list[str] = []
    run(subject, corpus, tmp_path / "s.h5", said=said)
    first, why, last = [line for line in said if "batch" in line]
    assert why == "collect: the first batch takes longer: its kernels are compiled or loaded"
    lines = [first, last]
    assert lines[0].startswith("collect: ")
    assert lines[0].endswith(" s from the command to the first batch")
    assert lines[1].endswith(" s from the last batch to the end (the store, logit effects)")
    assert all(0 <= float(line.split()[1]) < 900 for line in lines)
    said.clear()
    run(subject, corpus, tmp_path / "s.h5", said=said)
    assert not any("batch" in line for line in said), "there was none"
