"""Comparison with TransformerBridge, and the kinds of models to compare."""

from __future__ import annotations

import torch
from subject_twins import bridge_activations

from neurolocal.records import Site


def assert_equals_the_bridge(subject, model, tokens: torch.Tensor, site: Site = "post") -> None:
    """Largest difference under 1e-4 of the layer's largest activation."""
    for layer, true in enumerate(bridge_activations(model, tokens, site)):
        found = subject.activations(tokens, layer, site)
        assert found.shape == (*tokens.shape, subject.d_mlp[layer])
        assert (found.float() - true).abs().max() < 1e-4 * true.abs().max()
