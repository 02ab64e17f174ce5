"""A failed write leaves the old store; equal content gives equal files."""

import errno

import h5py
import numpy as np
import pytest
from store_twins import evidence, made_up

from neurolocal.errors import StoreError
from neurolocal.store import Store, add_evidence, datasets, write, write_collected


def test_evidence_is_not_written_through_a_link(store_path, tmp_path):
    victim = tmp_path / "victim.h5"
    write_collected(victim, made_up(np.random.default_rng(3)))
    before = victim.read_bytes()
    with h5py.File(store_path, "r+") as file:
        del file["verdict"]
        file["verdict"] = h5py.ExternalLink(str(victim), "/")
    with pytest.raises(StoreError, match="is a link"):
        add_evidence(
            store_path, [one for one in evidence(np.random.default_rng(3)) if one[0] == "verdict"], site="post"
        )
    assert victim.read_bytes() == before


def test_a_manifest_may_be_large(tmp_path):
    made = made_up(np.random.default_rng(0))
    made.manifest["corpus"]["files"] = [{"name": f"part-{i:06}.jsonl.zst", "sha256": "0" * 64} for i in range(2000)]
    write_collected(tmp_path / "a.h5", made)
    with Store(tmp_path / "a.h5") as store:
        assert store.manifest == made.manifest


def test_equal_content_gives_equal_files(tmp_path):
    for name in "ab":
        write_collected(tmp_path / name, made_up(np.random.default_rng(0)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("at", [0, 1, 7, 20])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (
            OSError("Can't write (file write failed: errno = 28, error message = 'No space left on device')"),
            "the disk is full",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_a_write_that_fails_leaves_the_old_store(store_path, monkeypatch, at, error, message):
    before, calls, put = store_path.read_bytes(), iter(range(1000)), datasets.put

    def fail(*args):
        if next(calls) == at:
            raise error
        put(*args)

    monkeypatch.setattr(datasets, "put", fail)
    monkeypatch.setattr(write, "put", fail)
    for job in (
        lambda: write_collected(store_path, made_up(np.random.default_rng(5))),
        lambda: add_evidence(store_path, evidence(np.random.default_rng(5)), site="post"),
    ):
        calls = iter(range(1000))
        with pytest.raises(StoreError) as caught:
            job()
        said = str(caught.value)
        assert message in said
        assert str(store_path) in said
        assert "untouched. Free disk space or give another path" in said
        assert "\n" not in said
        assert store_path.read_bytes() == before
        assert [p.name for p in store_path.parent.iterdir() if p.suffix != ".lock"] == ["a.h5"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupt_or_a_bug_leaves_the_old_store_too(store_path, monkeypatch, kind):
    before = store_path.read_bytes()

    def fail(*args):
        raise kind

    monkeypatch.setattr(write, "put_blobs", fail)
    with pytest.raises(kind):
        write_collected(store_path, made_up(np.random.default_rng(5)))
    assert store_path.read_bytes() == before
    assert [p.name for p in store_path.parent.iterdir() if p.suffix != ".lock"] == ["a.h5"]


def test_writing_to_what_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "a.h5", tmp_path / "folder"):
        with pytest.raises(StoreError, match=r"writing .*Free disk space or give another path"):
            write_collected(path, made_up(np.random.default_rng(0)))
    with pytest.raises(StoreError, match="No such file"):
        add_evidence(tmp_path / "none.h5", [], site="post")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("limit", [100, 5_000, 20_000])
def test_a_file_system_that_refuses_leaves_the_old_store(store_path, limit):
    """A real failure in the middle of HDF5's own writing, as on a full disk."""
    resource = pytest.importorskip("resource")
    before, old = store_path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        with pytest.raises(StoreError, match=r"writing .*File too large.*untouched") as caught:
            write_collected(store_path, made_up(np.random.default_rng(5)))
        with pytest.raises(StoreError, match=r"writing .*File too large.*untouched"):
            add_evidence(store_path, evidence(np.random.default_rng(5)), site="post")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "\n" not in str(caught.value)
    assert store_path.read_bytes() == before
    assert [p.name for p in store_path.parent.iterdir() if p.suffix != ".lock"] == ["a.h5"]
    write_collected(store_path, made_up(np.random.default_rng(5)))
    Store(store_path).close()
