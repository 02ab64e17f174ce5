"""Fixtures of the tests of this room: one collected store with its website, and a pair of stores to compare."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from compare_twins import lists, reordered, words, write_store
from export_twins import collected, export


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread of torch, so that rows of another batch round in the same way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def stories(fixtures) -> Path:
    """The folder of stories260k."""
    return fixtures / "stories260k"


@pytest.fixture
def pair(rng, tmp_path):
    """Layer 0 is the same in both, layer 1 is not; the text is the same in other ids and at other row numbers."""
    v, tokens = words(rng), rng.integers(1, 301, (80, 40))
    tokens[:, 0] = 0
    a = {i: lists(rng, neurons=30, k=6, rows=80, length=40) for i in (0, 1)}
    other = lists(rng, neurons=30, k=6, rows=80, length=40)
    index = np.sort(rng.choice(5000, 80, replace=False))
    b = {0: (a[0][0], index[a[0][1]], a[0][2]), 1: (other[0], index[other[1]], other[2])}
    v2, new = reordered(rng, v)
    own = write_store(tmp_path / "own.h5", rng, vocabulary=v, tokens=tokens, layers=a)
    theirs = write_store(
        tmp_path / "theirs.h5", rng, vocabulary=v2, tokens=new[tokens], layers=b, index=index, rows=100,
    )  # fmt: skip
    return own, theirs


@pytest.fixture(scope="session")
def made(fixtures, tmp_path_factory) -> tuple[Path, Path]:
    """A store, and the site made of two of its layers."""
    folder = tmp_path_factory.mktemp("export")
    store = collected(folder, fixtures, layers=(0, 3), neurons=(0, 1, 5, 90, 171))
    done = export(store, folder / "site", model="a/stories", dataset="small <b>")
    assert (done.pages, done.short, done.left_out) == (10, 0, [])
    return store, folder / "site"
