"""What only an imported store has: its whole rows agree with its windows, and other shapes are refused."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import zstandard

from neurolocal.errors import StoreError
from neurolocal.store import Store

IMPORTED = Path(__file__).with_name("golden_0_1_0") / "imported.h5.zst"


@pytest.fixture
def imported(tmp_path) -> Path:
    path = tmp_path / "imported.h5"
    path.write_bytes(zstandard.ZstdDecompressor().decompressobj().decompress(IMPORTED.read_bytes()))
    return path


def test_whole_rows_hold_the_peaks(imported):
    with Store(imported) as store:
        lists, top = store.pages(1), store.top(1, "largest")
        assert lists is not None
        assert store.sides(1) == ["largest"]
        assert store.problems == []
        np.testing.assert_array_equal(store.maxima(1).activation, np.where(lists.trusted, lists.maximum, np.nan))
        for at in range(len(top.row)):
            whole = store.page_activations(1, at)
            used = top.row[at] >= 0
            peaks = whole[used, top.position[at][used]]
            np.testing.assert_array_equal(peaks, top.activation[at][used])
            assert np.isnan(whole[~used]).all()


@pytest.mark.parametrize("name", ["text", "largest", "range", "maximum", "trusted", "activation"])
def test_another_shape_is_refused(imported, name):
    with h5py.File(imported, "r+") as file:
        place = f"neuroscope/post/1/{name}"
        old = np.asarray(file[place])
        del file[place]
        file[place] = old[:-1]
    with Store(imported) as store, pytest.raises(StoreError, match=f"{place} has the shape"):
        _ = store.page_activations(1, 0) if name == "activation" else store.pages(1)


def test_a_collected_store_has_no_pages(store_path):
    with Store(store_path) as store:
        assert store.pages(2) is None
        assert store.problems == []
