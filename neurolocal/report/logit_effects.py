"""The tokens that a neuron's output promotes and suppresses, as the views show them.

Invariant: ids without a text, which stores of version 0.1.0 list of a padded vocabulary, are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neurolocal.report.layer import Layer


class TokenEffect(NamedTuple):
    """A token, and what the neuron adds to its logit."""

    token: str
    """Text of the token, unchanged: hidden characters are not made visible."""
    effect: float
    """Logits for an activation of 1 at a norm's scale of 1, above the vocabulary's mean."""


def promoted(read: Layer, neuron: int) -> list[TokenEffect]:
    """The tokens that the neuron promotes most, strongest first; empty if the store holds none."""
    effects, at = read.effects, read.index[neuron]
    return [] if effects is None else _listed(read, effects.promoted[at], effects.promoted_effect[at])


def suppressed(read: Layer, neuron: int) -> list[TokenEffect]:
    """The tokens that the neuron suppresses most, strongest first; empty if the store holds none."""
    effects, at = read.effects, read.index[neuron]
    return [] if effects is None else _listed(read, effects.suppressed[at], effects.suppressed_effect[at])


def _listed(read: Layer, tokens: np.ndarray, values: np.ndarray) -> list[TokenEffect]:
    texts = read.store.vocabulary.str_tokens(tokens)
    return [TokenEffect(text, float(value)) for text, value in zip(texts, values, strict=True) if text]
