"""Damaged GLUScope files are refused and named; a cut file never gives a wrong number."""

from __future__ import annotations

import numpy as np
import pytest
from gluscope_twins import change, made, put
from listeners import silent

from neurolocal.errors import StoreError
from neurolocal.neuroscope.imports.kinds import import_any


@pytest.mark.parametrize("what", change(made(np.random.default_rng(0)), ""))
def test_damaged_examples_are_named(tmp_path, rng, what):
    good, bad = put(tmp_path, made(rng), number=0), put(tmp_path, change(made(rng), what), number=1)
    import_any([good], tmp_path / "a.h5", say=silent)
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(StoreError, match=bad.name) as caught:
        import_any([good, bad], tmp_path / "a.h5", say=silent)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "a.h5").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b'{"tokens": ["a"]'])
def test_files_that_are_no_json_are_named(tmp_path, content):
    path = put(tmp_path, {})
    path.write_bytes(content)
    with pytest.raises(StoreError, match=path.name):
        import_any([path], tmp_path / "a.h5", say=silent)


def test_cut_anywhere_it_is_refused(fixtures, tmp_path, rng):
    path = min((fixtures / "gluscope").glob("*.json"), key=lambda p: p.stat().st_size)
    whole, cut = path.read_bytes().rstrip(), tmp_path / path.name
    for at in rng.integers(len(whole), size=40).tolist():
        cut.write_bytes(whole[:at])
        with pytest.raises(StoreError, match="no whole JSON"):
            import_any([cut], tmp_path / "a.h5", say=silent)
