"""What the tests of TransformerLens checkpoints share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from legacy_twins import CONFIG, bridge_site

from neurolocal.errors import SubjectError
from neurolocal.subject import load_subject


def seed(rng) -> int:
    return int(rng.integers(2**31))


def assert_equals_the_bridge(subject, bridge, rng) -> None:
    """In float64, where eight layers of SoLU do not magnify rounding past the tolerance."""
    tokens = torch.from_numpy(rng.integers(0, CONFIG["d_vocab"], (3, 32)))
    subject.model.double()
    bridge.double()
    for site in subject.sites:
        for layer, true in enumerate(bridge_site(bridge, tokens, site)):
            found = subject.activations(tokens, layer, site)
            assert found.dtype == torch.float64
            assert (found - true).abs().max() < 1e-5 * true.abs().max(), (site, layer)


def refusal(folder: Path, **how) -> str:
    with pytest.raises(SubjectError) as caught:
        load_subject(folder, device="cpu", **how)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 700
    assert str(folder) in text
    return text
