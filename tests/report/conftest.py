"""Small stores and golden files for the report's tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from report_twins import SmallStore

from neurolocal.store import Store


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a `SmallStore`, once for all tests with the same settings."""

    @cache
    def write(**settings: Any) -> Path:
        return SmallStore(**settings).write(tmp_path_factory.mktemp("written") / "small.h5")

    return write


@pytest.fixture
def small_store(
    written: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Store]]:
    """Open a copy of a `SmallStore` with some settings; it is closed after the test."""
    opened: list[Store] = []

    def make(**settings: Any) -> Store:
        path = shutil.copy(written(**settings), tmp_path_factory.mktemp("small"))
        opened.append(Store(path))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with a file of golden/; NEUROLOCAL_GOLDEN=write writes the file instead."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if os.environ.get("NEUROLOCAL_GOLDEN") == "write":
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
        assert text == path.read_bytes().decode(), f"{name} changed; if that is meant, run with NEUROLOCAL_GOLDEN=write"

    return check
