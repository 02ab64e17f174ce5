"""The two published lists of maxima -> stores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from import_twins import UNTRUSTED, faultless

from neurolocal.neuroscope.imports.kinds import import_any
from neurolocal.store import Store


@pytest.mark.parametrize(("name", "site"), [("pythia-70m", "post"), ("solu-6l-pile", "mid")])
def test_the_published_lists_of_maxima(fixtures, tmp_path, name, site):
    path, out = fixtures / "neuroscope" / "max-activations" / f"{name}.json", tmp_path / "a.h5"
    listed, said = json.loads(path.read_text()), []
    found = import_any([path], out, say=said.append)
    assert len(found.problems) == len(UNTRUSTED[name])
    faultless(out)
    assert out.stat().st_size < 4 * path.stat().st_size, "a list of numbers does not need windows and histograms"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5"]
    with Store(out) as store:
        assert (store.sites, store.layers) == ((site,), list(range(len(listed))))
        assert store.manifest["subject"]["name"] == name
        for layer, values in enumerate(listed):
            maxima, pages = store.maxima(layer), store.pages(layer)
            assert pages is not None
            wanted = np.array(values, np.float64)
            doubted = [n for at, n in UNTRUSTED[name] if at == layer]
            assert sorted(np.flatnonzero(~pages.trusted).tolist()) == sorted(doubted)
            wanted[doubted] = np.nan
            assert np.array_equal(maxima.activation, wanted, equal_nan=True)
            assert maxima.neuron.tolist() == list(range(len(values)))
            assert (store.top(layer, "largest").row == -1).all()
