"""Neurons made by hand."""

from __future__ import annotations

import pytest
from neurons import Corpus


@pytest.fixture
def corpus() -> Corpus:
    return Corpus()
