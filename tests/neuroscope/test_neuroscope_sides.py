"""The two sides: what they state, and sides that do not belong together or are damaged."""

from __future__ import annotations

import numpy as np
import pytest
from compare_twins import listed, lists, quiet, random_store, words, write_store

from neurolocal.errors import StoreError
from neurolocal.store import Store


def test_stores_of_different_models_are_refused(rng, tmp_path):
    a = random_store(tmp_path / "a.h5", rng, layers=2, width=5)
    wide = random_store(tmp_path / "b.h5", rng, layers=2, width=6)
    deep = random_store(tmp_path / "c.h5", rng, layers=3, width=5)
    with pytest.raises(StoreError, match="layer 0 has 5 neurons in the one and 6 in the other"):
        quiet(a, wide)
    with pytest.raises(StoreError, match="2 layers, the other 3"):
        quiet(a, deep)
    with pytest.raises(StoreError, match="3 layers, the other 2"):
        quiet(a, listed(tmp_path / "m.json", rng.random((3, 5))))
    with pytest.raises(StoreError, match="do not have layer 1 in common"):
        quiet(a, listed(tmp_path / "n.json", rng.random((1, 5))), layers=[0, 1])
    with pytest.raises(StoreError, match="no such file"):
        quiet(a, tmp_path / "none.json")
    assert len(quiet(a, listed(tmp_path / "n.json", rng.random((1, 5)))).layers) == 1


def test_an_imported_store_does_not_know_the_size_of_the_corpus(pair, rng, tmp_path):
    index = np.sort(rng.choice(9000, 40, replace=False))
    made = lists(rng, neurons=5, k=2, rows=40, length=20)
    v, tokens = words(rng, 50), rng.integers(1, 51, (40, 20))
    own = write_store(tmp_path / "a.h5", rng, vocabulary=v, tokens=tokens, layers={0: made})
    theirs = write_store(
        tmp_path / "b.h5", rng, vocabulary=v, tokens=tokens, layers={0: (made[0], index[made[1]], made[2])},
        index=index, source={"kind": "pages"},
    )  # fmt: skip
    with Store(theirs) as opened:
        assert opened.imported
    c = quiet(own, theirs)
    assert c.theirs.rows is None
    assert c.theirs.kind == "imported"
    assert f"their number of rows is (at least {index[-1] + 1:,}). Give --their-rows." in c.notes[1]
    assert np.isnan(c.overall.ratio_expected)
    assert "is expected of 40 rows against 50" in quiet(own, theirs, their_rows=50).notes[1]
    far = quiet(own, theirs, their_rows=10**9)
    assert np.isnan(far.overall.ratio_expected)
    assert "of 40 rows against 1,000,000,000 cannot be estimated so far beyond the examples" in far.notes[1]


def test_damaged_lists_are_refused(rng, tmp_path):
    v, tokens = words(rng, 50), rng.integers(1, 51, (40, 20))
    made = lists(rng, neurons=5, k=2, rows=40, length=20)
    good = write_store(tmp_path / "a.h5", rng, vocabulary=v, tokens=tokens, layers={0: made})
    away = write_store(
        tmp_path / "b.h5", rng, vocabulary=v, tokens=tokens, layers={0: (made[0], made[1] + 2**50, made[2])},
        complete=False,
    )  # fmt: skip
    behind = write_store(
        tmp_path / "c.h5", rng, vocabulary=v, tokens=tokens, layers={0: (made[0], made[1], made[2] + 2**30)},
        complete=False,
    )  # fmt: skip
    for bad in (away, behind):
        for pair in ((good, bad), (bad, good)):
            with pytest.raises(StoreError, match="The file is damaged"):
                quiet(*pair)
