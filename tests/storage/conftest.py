"""Storages as fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from buckets import memory, s3_server

from neurolocal.storage import calls


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Tries follow at once, and nothing of another test's storage or cache is left."""
    monkeypatch.setattr(calls, "FIRST", 0.0)
    monkeypatch.setattr(calls, "LONGEST", 0.0)
    monkeypatch.delenv("NEUROLOCAL_OFFLINE", raising=False)
    monkeypatch.setenv("NEUROLOCAL_CACHE", str(tmp_path / "cache"))
    calls._filesystem.cache_clear()
    yield
    calls._filesystem.cache_clear()


@pytest.fixture
def bucket() -> Iterator[Any]:
    """A folder `/bucket` of memory."""
    with memory() as system:
        yield system


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket `bucket` of S3 on loopback."""
    with s3_server(monkeypatch) as system:
        yield system


@pytest.fixture(scope="session")
def subject(fixtures: Path) -> Any:
    """A small subject."""
    from neurolocal.subject import load_subject

    return load_subject(str(fixtures / "stories260k"), device="cpu")
