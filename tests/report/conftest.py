"""Small stores and golden files for the report's tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report_twins import SmallStore

from neurolocal.store import Store


@pytest.fixture
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Store]]:
    """Write a `SmallStore` of some settings and open it; it is closed after the test."""
    opened: list[Store] = []

    def make(**settings: Any) -> Store:
        path = SmallStore(**settings).write(tmp_path_factory.mktemp("small") / "small.h5")
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
