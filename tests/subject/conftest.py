"""Shared by the tests of the subject: one thread, and a cache of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tiny models are faster on one thread, by far on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache, so that nothing from an earlier run answers in the code's place."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NEUROLOCAL_CACHE", str(folder))
    return folder


@pytest.fixture
def folder(fixtures, tmp_path, own_cache) -> Path:
    """A copy of the small trained model that a test may damage."""
    return Path(shutil.copytree(fixtures / "stories260k", tmp_path / "model", copy_function=shutil.copyfile))


@pytest.fixture
def stories(fixtures) -> Path:
    return fixtures / "stories260k"
