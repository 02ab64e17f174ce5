"""A small trained subject with a few rows, and vectors of their words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from perturbation_twins import TEXT, Small, ToyVectors

from neurolocal.words import WORD


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tiny models are faster on one thread, by far on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small(fixtures) -> Small:
    from neurolocal.subject import load_subject

    subject = load_subject(fixtures / "stories260k", device="cpu")
    ids = subject.encode(TEXT.split("\n"))
    rows = {3 * i: np.array([subject.bos, *line], np.int64) for i, line in enumerate(ids)}
    return Small(subject, rows, subject.vocabulary.word_counts(rows.values()))


@pytest.fixture(scope="session")
def toy() -> ToyVectors:
    rng = np.random.default_rng(7)
    words = sorted({w.casefold() for w in WORD.findall(TEXT)})
    return ToyVectors({w: rng.normal(size=8) for w in words})
