"""Temporary files: a full disk or a folder that cannot be written leaves everything as it was."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest
from import_twins import corpus, faultless, load, write
from page_twins import HOSTILE, page_html, random_page
from small_run import neurolocal

from neurolocal.errors import StoreError


def test_a_failed_write_changes_nothing(tmp_path, rng):
    folder = write(tmp_path / "p", corpus(rng, 40, words=HOSTILE, length=300))
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "a.h5"
    out.write_bytes(b"what was there")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    load([folder], tmp_path / "whole.h5")
    size = (tmp_path / "whole.h5").stat().st_size
    for limit in (1000, size // 20, size // 5, size // 2, size - 100):  # in a spool, the table of rows, the store
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
        try:
            with pytest.raises(StoreError, match=r"writing .*a\.h5: .*untouched") as caught:
                load([folder], out, processes=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert "\n" not in str(caught.value)
        assert out.read_bytes() == b"what was there"
        assert [p.name for p in out.parent.iterdir()] == ["a.h5"]
    with pytest.raises(StoreError, match=r"writing .*a\.h5/b\.h5: .*untouched"):
        load([folder], out / "b.h5")
    with pytest.raises(StoreError, match=r"writing .*untouched"):
        load([folder], Path("/proc/neurolocal/b.h5"))
    load([folder], out)
    faultless(out)
    assert [p.name for p in out.parent.iterdir()] == ["a.h5"]


@pytest.mark.slow
def test_a_full_disk(tmp_path, rng):
    """A real one, where a write into a mapped file would kill the process."""
    place = tmp_path / "small"
    place.mkdir()
    folder = write(tmp_path / "p", corpus(rng, 200, words=HOSTILE, length=900, neurons=4))
    load([folder], tmp_path / "whole.h5")
    (tmp_path / "few.html").write_text(page_html(random_page(rng, texts=2, length=20)), encoding="utf-8")
    load([tmp_path / "few.html"], tmp_path / "few.h5")
    before = (tmp_path / "few.h5").read_bytes()
    failed = 0
    whole = (tmp_path / "whole.h5").stat().st_size // 1024
    for size in (whole // 5, whole // 3, whole // 2, whole):
        assert size > 2 * len(before) / 1024
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", place], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("this user cannot mount a small disk")
        try:
            (place / "a.h5").write_bytes(before)
            done = neurolocal("neuroscope", "import", folder, "--out", place / "a.h5", cwd=tmp_path)
            if done.returncode:
                failed += 1
                assert (done.returncode, "untouched" in done.stderr) == (1, True), done.stderr
                assert (place / "a.h5").read_bytes() == before
            assert [p.name for p in place.iterdir()] == ["a.h5"]
        finally:
            subprocess.run(["umount", place], check=True)
    assert failed == 4
