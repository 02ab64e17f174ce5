"""A small trained subject, and a store that was collected with it, with verdicts and two descriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from asked_run import collect_small, write_asked_store

from neurolocal.store import Store
from neurolocal.subject import load_subject


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def subject(fixtures: Path) -> Any:
    return load_subject(fixtures / "stories260k", device="cpu")


@pytest.fixture
def collected(subject: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a small store with some settings of the collection."""
    return lambda **settings: collect_small(tmp_path_factory.mktemp("asked"), subject, **settings)


@pytest.fixture(scope="session")
def store(subject: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(write_asked_store(tmp_path_factory.mktemp("asked"), subject)) as opened:
        yield opened
