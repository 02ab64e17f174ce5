"""A small store, written once."""

from __future__ import annotations

from pathlib import Path

import pytest
from serve_twins import write_small


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that no test changes."""
    return write_small(tmp_path_factory.mktemp("serve") / "small.h5")
