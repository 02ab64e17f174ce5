"""A cache of its own for every test."""

from __future__ import annotations

import pytest


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROLOCAL_CACHE", str(tmp_path / "cache"))
