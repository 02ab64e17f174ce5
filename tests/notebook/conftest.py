"""A small store that is opened for a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from asked_run import write_asked_store

from neurolocal.notebook import OpenStore, open_store
from neurolocal.subject import load_subject


@pytest.fixture(scope="session")
def path(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    subject = load_subject(fixtures / "stories260k", device="cpu")
    made = write_asked_store(tmp_path_factory.mktemp("notebook"), subject)
    torch.set_num_threads(before)
    return made


@pytest.fixture(scope="session")
def opened(path: Path) -> Iterator[OpenStore]:
    with open_store(path, device="cpu") as store:
        yield store
