"""Shared by all tests: the fixtures folder, and a seed that a failing run prints."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of real data; tests that need it skip where it is absent."""
    root = Path(__file__).parents[1]
    folder = Path(os.environ.get("NEUROLOCAL_FIXTURES", root.parent / "shared" / "fixtures"))
    if not folder.is_dir():
        pytest.skip(f"no fixtures at {folder}: set NEUROLOCAL_FIXTURES")
    return folder


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator that is fresh in every run; NEUROLOCAL_TEST_SEED repeats one."""
    seed = int(os.environ.get("NEUROLOCAL_TEST_SEED", int.from_bytes(os.urandom(4), "little")))
    print(f"NEUROLOCAL_TEST_SEED={seed}")
    return np.random.default_rng(seed)
