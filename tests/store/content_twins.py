"""A store as plain comparable values, and comparisons of records."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import strategies as st

from neurolocal.records import TABLES
from neurolocal.store import Store


def plain(value):
    """Any record as plain comparable values; NaN becomes text."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    return value


def everything(path):
    """Whatever a store can be asked for."""
    said = []
    with Store(path) as store:
        sites = store.sites
        said += [store.manifest, sites, plain(store.vocabulary), plain(store.token_count), plain(store.row_index)]
        said += [plain(store.rows_stored), plain(store.rest()), plain(store.parts.columns()), plain(store.sample)]
        said += [plain(row) for row in store.iter_rows()]
    for site in sites:
        with Store(path, site=site) as store:
            for layer in store.layers:
                neurons = store.neurons(layer)
                said += [plain(neurons), plain(store.record(layer))]
                for side in store.sides(layer):
                    said += [plain(store.example_lists(layer, side)), plain(store.subsets(layer, side))]
                    said += [plain(store.examples(layer, int(n), side)) for n in neurons]
                    for stage in TABLES:
                        said += [store.inputs(stage, layer, side), plain(store.evidence(stage, layer, side))]
    return said


LIST, STATISTICS = "collect/post/2/largest", "collect/post/2/statistics"
EVIDENCE = "verdict/post/2/largest"
SEEDS = st.integers(0, 2**32 - 1)
ANY_TEXT = st.text(st.characters(), max_size=8) | st.sampled_from(["\x00", "a\x00", "\ud800", "e\u0301\n", ""])


def same(a, b):
    """Two records hold the same, NaN equal to NaN."""
    assert type(a) is type(b)
    if dataclasses.is_dataclass(a):
        for column in dataclasses.fields(a):
            same(getattr(a, column.name), getattr(b, column.name))
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for name in a:
            same(a[name], b[name])
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b
