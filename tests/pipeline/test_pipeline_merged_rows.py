"""The rows of a merged store are those that its lists refer to, whatever the blocks; memory does not grow with them."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from merge_twins import write_part, write_parts

from neurolocal.errors import StoreError
from neurolocal.pipeline import merged_rows
from neurolocal.pipeline.merge import merge_stores
from neurolocal.provenance import Parts
from neurolocal.store import Store


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("block", [1, 500, 1 << 23])
def test_the_rows_are_those_of_all_parts_that_a_list_refers_to(tmp_path, monkeypatch, rng, ranges, block):
    monkeypatch.setattr(merged_rows, "BLOCK", block)
    paths, made = write_parts(tmp_path, rng, count=4, rows=30, row_length=12, neurons=7, ranges=ranges)
    merge_stores(tmp_path / "m.h5", paths[::-1], say=lambda line: None, bar=False)
    with Store(tmp_path / "m.h5") as store:
        lists = [store.top(0, side).row for side in store.sides(0)]
        wanted = np.unique(np.concatenate(lists))
        index = np.concatenate([rows.index for rows in made])
        order = np.argsort(index)
        order = order[np.isin(index[order], wanted)]
        assert 20 < len(wanted) < len(index)
        np.testing.assert_array_equal(store.row_index, wanted)
        tokens, length = store.rows_stored
        np.testing.assert_array_equal(tokens, np.concatenate([rows.tokens for rows in made])[order])
        np.testing.assert_array_equal(length, np.concatenate([rows.length for rows in made])[order])
        parts = [Parts.from_columns(rows.parts) for rows in made]
        assert store.parts == Parts.concatenate(parts).take(order)


def test_the_index_does_not_depend_on_the_blocks(tmp_path, monkeypatch, rng):
    paths, _ = write_parts(tmp_path, rng, count=3, rows=30, row_length=12, neurons=7, ranges=False)
    found = []
    for block in (50, 1 << 23):
        monkeypatch.setattr(merged_rows, "BLOCK", block)
        out = tmp_path / f"{block}.h5"
        merge_stores(out, paths, say=lambda line: None, bar=False)
        with h5py.File(out) as file:
            index = {}
            group = file["find"]
            assert isinstance(group, h5py.Group)
            group.visititems(lambda name, place, to=index: to.update({name: place[()].tobytes()})
                                    if isinstance(place, h5py.Dataset) else None)  # fmt: skip
        found.append(index)
    assert len(found[0]) == 16
    assert found[0] == found[1]


def test_a_row_that_no_part_holds_is_named(tmp_path, rng):
    paths, _ = write_parts(tmp_path, rng, count=2, rows=6, row_length=12, neurons=7, ranges=True)
    with h5py.File(paths[1], "r+") as file:
        file["collect/post/0/largest/row"][0, 0] = 77
        file["collect/post/0/largest/activation"][0, 0] = 99
    with pytest.raises(StoreError, match="refers to row 77, which none of the parts holds") as caught:
        merge_stores(tmp_path / "m.h5", paths, say=lambda line: None, bar=False)
    assert "`neurolocal check`" in str(caught.value)
    assert not (tmp_path / "m.h5").exists()


def test_row_numbers_are_distinct_and_sorted(monkeypatch, rng):
    monkeypatch.setattr(merged_rows, "FEW", 10)
    numbers, added = merged_rows.RowNumbers(), []
    for _ in range(20):
        added.append(rng.integers(-1, 90, rng.integers(0, 12)))
        numbers.add(added[-1])
    every = np.unique(np.concatenate(added))
    np.testing.assert_array_equal(numbers.sorted(), every[every >= 0])


MERGE = """
import sys
from pathlib import Path
from neurolocal.pipeline.merge import merge_stores
from neurolocal.scale.plan_start import peak_bytes
base = peak_bytes()
merge_stores(Path(sys.argv[1]), [Path(p) for p in sys.argv[2:]], say=lambda line: None, bar=False)
print(peak_bytes() - base)
"""

BOUND = 100 << 20
"""Bytes: blocks of 8 MiB read, joined, ordered and written, one part's documents, HDF5, what Python imports late."""


def test_merging_more_rows_than_memory_would_hold(tmp_path):
    """The result's rows are 115 MB. One block of them all takes 380 MiB; blocks of 8 MiB take 63."""
    rng, length = np.random.default_rng(0), 20_000
    paths = []
    for number in range(6):
        rows = _long_rows(rng, number, n=500, length=length)
        paths.append(
            write_part(tmp_path / f"{number}.h5", rng, rows, number=number, count=6, neurons=1500, ranges=True)
        )
    out = tmp_path / "m.h5"
    done = subprocess.run(
        [sys.executable, "-c", MERGE, str(out), *map(str, paths)], capture_output=True, text=True, check=True
    )
    with Store(out) as store:
        assert len(store.row_index) * length * 2 > BOUND
    assert int(done.stdout) < BOUND, f"{int(done.stdout) >> 20} MiB"


def _long_rows(rng, number, *, n, length):
    from neurolocal.store import StoredRows

    columns = Parts.of(range(1, n + 1), [(0, 0, i, 0, "") for i in range(n)]).columns()
    tokens = np.broadcast_to(rng.integers(0, 300, length).astype(np.uint16), (n, length))
    return StoredRows(tokens, np.full(n, length), np.arange(n) + number * n, columns)
